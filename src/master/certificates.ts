// SPDX-License-Identifier: MIT
// Certificates and keys as memfds: read once by the master, which may be root, and held by the keeper. Workers and later masters
// never read the files, which may be half renewed when a process has to be replaced.
import type { CertificateFiles, Config } from '../config/config.ts';
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import { dateTime, log } from '../observe/log.ts';
import type { Keeper } from './keeper.ts';

export interface LoadedCertificate {
  readonly chainFd: number;
  readonly keyFd: number;
}

/** By certificate file and key file. */
export type Certificates = (files: CertificateFiles) => LoadedCertificate;

/** Uses what is held, loads the rest and logs it. Throws SystemError when a file can't be read or does not hold what it should. */
export function loadCertificates(config: Config, keeper: Keeper): Certificates {
  const loaded = new Map<string, LoadedCertificate>();
  for (const files of config.listeners.flatMap(({ certificates }) => certificates)) {
    if (!loaded.has(keyOf(files)))
      loaded.set(
        keyOf(files),
        hold(loaded.size, keeper, () => load(files)),
      );
  }
  return (files) => loaded.get(keyOf(files)) as LoadedCertificate;
}

/** The demo's certificate, self-signed. */
export function demoCertificate(keeper: Keeper): LoadedCertificate {
  return hold(0, keeper, () => {
    const made = native.generateCertificate({ names: ['localhost', '127.0.0.1', '::1'], days: 30 });
    logChain(made, undefined);
    return made;
  });
}

function keyOf({ cert, key }: CertificateFiles): string {
  return `${cert}\0${key}`;
}

function hold(index: number, keeper: Keeper, make: () => LoadedCertificate): LoadedCertificate {
  const chainName = `certificate:${index}:chain`;
  const keyName = `certificate:${index}:key`;
  const chainFd = keeper.held.get(chainName);
  const keyFd = keeper.held.get(keyName);
  if (chainFd !== undefined && keyFd !== undefined) return { chainFd, keyFd };
  const made = make();
  keeper.put(chainName, made.chainFd);
  keeper.put(keyName, made.keyFd);
  return made;
}

function load({ cert, key }: CertificateFiles): LoadedCertificate {
  const loaded = { chainFd: loadFile(cert), keyFd: loadFile(key) };
  logChain(loaded, cert);
  return loaded;
}

function loadFile(path: string): number {
  try {
    return native.loadFile({ path });
  } catch (cause) {
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    throw new SystemError(`can't read ${path}: ${message}`, { code, cause });
  }
}

function logChain({ chainFd, keyFd }: LoadedCertificate, file: string | undefined): void {
  const { chain } = native.inspectCertificate({ chainFd, keyFd });
  for (const { role, fingerprint, notBefore, notAfter, subject, issuer } of chain) {
    const dates = { notbefore: dateTime(notBefore), notafter: dateTime(notAfter) };
    log('info', 'cert_loaded', { cert_role: role, fingerprint, ...dates, subject, issuer, file });
  }
}
