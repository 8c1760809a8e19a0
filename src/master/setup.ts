// SPDX-License-Identifier: MIT
// A configuration with all that it needs open: what a plan for a worker is made of. A reload opens another beside it, and whichever is
// not used in the end lets go of what the other one has not got.
import type { CertificateFiles, Config } from '../config/config.ts';
import { type Identity, native } from '../native.ts';
import {
  type Certificates,
  certificateKey,
  closeCertificates,
  heldCertificates,
  keepCertificates,
  openCertificates,
} from './certificates.ts';
import type { Keeper } from './keeper.ts';
import {
  closeListeners,
  dropStraySockets,
  heldSockets,
  keepListeners,
  type Listener,
  openListeners,
  passedSockets,
  type Sockets,
  socketsOf,
} from './listeners.ts';
import type { State } from './state.ts';

export interface Setup {
  readonly config: Config;
  /** Whom workers become. */
  readonly identity: Identity | undefined;
  readonly listeners: readonly Listener[];
  readonly certificates: Certificates;
  /** Passed by systemd, whether a listener has them or not. */
  readonly passed: Sockets;
}

/** What the keeper holds is used, the rest is made and given to it. Throws SystemError when something can't be had. */
export function openSetup({ config, identity, certificates, drainUntilMs }: State, keeper: Keeper): Setup {
  const sockets = heldSockets(keeper);
  // Sockets that a stop or an upgrade has dropped must not come back.
  const ended = drainUntilMs !== undefined || keeper.role === 'leaving';
  const listeners = ended ? [] : openListeners(config, sockets, keeper.role === 'candidate');
  dropStraySockets(sockets, listeners, keeper);
  keepListeners(listeners, sockets, keeper);
  const held = heldCertificates(keeper, certificates);
  const opened = openCertificates(config, held, () => false);
  keepCertificates(opened, held, keeper);
  return { config, identity, listeners, certificates: opened, passed: passedSockets(sockets) };
}

/** Another configuration beside the one at work: shared sockets stay, certificates that `renew` picks are read anew. Throws SystemError. */
export function openNextSetup(
  before: Setup,
  next: Pick<Setup, 'config' | 'identity'>,
  renew: (files: CertificateFiles) => boolean,
): Setup {
  const certificates = openCertificates(next.config, before.certificates, renew);
  try {
    const listeners = openListeners(next.config, new Map([...before.passed, ...socketsOf(before.listeners)]));
    return { ...before, ...next, listeners, certificates };
  } catch (error) {
    closeCertificates(certificates, before.certificates);
    throw error;
  }
}

/** Gives the keeper what `before` has not got. */
export function keepSetup(setup: Setup, before: Setup, keeper: Keeper): void {
  keepListeners(setup.listeners, sharedSockets(before), keeper);
  keepCertificates(setup.certificates, before.certificates, keeper);
}

/** Closes what `other` has not got; with a keeper it lets go of it as well. */
export function closeSetup(setup: Setup, other: Setup, keeper?: Keeper): void {
  closeListeners(setup.listeners, sharedSockets(other), keeper);
  closeCertificates(setup.certificates, other.certificates, keeper);
}

/** From root to somebody else, unless root was asked for by name; nobody else can become anybody. */
export function identityOf({ user = 'nobody', group }: Config): Identity | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  return native.lookUpIdentity({ user, ...(group === undefined ? {} : { group }) });
}

export function certificateFor({ certificates }: Setup, files: CertificateFiles) {
  const found = certificates.get(certificateKey(files));
  if (found === undefined) throw new Error(`no certificate is loaded for ${files.cert}`);
  return found;
}

const sharedSockets = ({ listeners, passed }: Setup): Sockets => new Map([...passed, ...socketsOf(listeners)]);
