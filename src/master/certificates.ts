// SPDX-License-Identifier: MIT
// Certificates and keys as memfds: read by the master, which may be root, and held by the keeper. Workers and later masters never read
// the files, which may be half renewed when a process has to be replaced.
import type { CertificateFiles, Config, ListenerConfig } from '../config/config.ts';
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import { dateTime, log } from '../observe/log.ts';
import type { Keeper } from './keeper.ts';

export interface LoadedCertificate {
  readonly chainFd: number;
  readonly keyFd: number;
}

export interface Certificate extends LoadedCertificate {
  readonly files: CertificateFiles;
  /** By which the keeper knows it. */
  readonly serial: number;
  /** SHA-256 of the certificates of the chain; the key can only be the one that fits. */
  readonly fingerprints: string;
}

/** By certificateKey() of their files. */
export type Certificates = ReadonlyMap<string, Certificate>;

/** What the state knows of one. */
export type CertificateEntry = CertificateFiles & Pick<Certificate, 'serial'>;

/** Stands for the demo's certificate, which is in no file. */
const demoFiles: CertificateFiles = { cert: '', key: '' };

export function certificateKey({ cert, key }: CertificateFiles): string {
  return `${cert}\0${key}`;
}

/** The pairs of a listener, in its order. */
export function filesOf({ demo }: Config, { certificates }: ListenerConfig): readonly CertificateFiles[] {
  return demo ? [demoFiles] : certificates;
}

/** Those of a predecessor; what it had not yet noted, or no longer, is dropped. */
export function heldCertificates(keeper: Keeper, entries: readonly CertificateEntry[]): Certificates {
  const found = new Map<string, Certificate>();
  for (const { cert, key, serial } of entries) {
    const chainFd = keeper.held.get(chainName(serial));
    const keyFd = keeper.held.get(keyName(serial));
    if (chainFd === undefined || keyFd === undefined) continue;
    const { fingerprints } = inspect({ chainFd, keyFd });
    found.set(certificateKey({ cert, key }), { files: { cert, key }, serial, chainFd, keyFd, fingerprints });
  }
  const used = new Set([...found.values()].flatMap(({ chainFd, keyFd }) => [chainFd, keyFd]));
  for (const [name, fd] of keeper.held) {
    if (!name.startsWith('certificate:') || used.has(fd)) continue;
    keeper.drop(name);
    native.closeFd({ fd });
  }
  return found;
}

/**
 * All that a configuration needs: those that are had, and the rest from the files, as also what `renew` picks. One that its file still
 * has stays as it is. Throws SystemError when a file can't be read or does not hold what it should; nothing is left open then.
 */
export function openCertificates(
  config: Config,
  had: Certificates,
  renew: (files: CertificateFiles) => boolean,
): Certificates {
  const all = new Map<string, Certificate>();
  let serial = Math.max(0, ...[...had.values()].map((each) => each.serial));
  try {
    for (const files of config.listeners.flatMap((listener) => filesOf(config, listener))) {
      const key = certificateKey(files);
      if (all.has(key)) continue;
      const before = had.get(key);
      const stays = before !== undefined && (files === demoFiles || !renew(files));
      const certificate = stays ? before : load(files, serial + 1, before);
      if (certificate !== before) serial++;
      all.set(key, certificate);
    }
    return all;
  } catch (error) {
    closeCertificates(all, had);
    throw error;
  }
}

/** Gives those that `but` has not got to the keeper. */
export function keepCertificates(certificates: Certificates, but: Certificates, keeper: Keeper): void {
  for (const { serial, chainFd, keyFd } of onlyIn(certificates, but)) {
    keeper.put(chainName(serial), chainFd);
    keeper.put(keyName(serial), keyFd);
  }
}

/** Closes those that `but` has not got; with a keeper it lets go of them as well. */
export function closeCertificates(certificates: Certificates, but: Certificates, keeper?: Keeper): void {
  for (const { serial, chainFd, keyFd } of onlyIn(certificates, but)) {
    keeper?.drop(chainName(serial));
    keeper?.drop(keyName(serial));
    native.closeFd({ fd: chainFd });
    native.closeFd({ fd: keyFd });
  }
}

/** Those of `certificates` that are not in `but`. */
export function onlyIn(certificates: Certificates, but: Certificates): readonly Certificate[] {
  return [...certificates].flatMap(([key, certificate]) => (but.get(key) === certificate ? [] : [certificate]));
}

export function entriesOf(certificates: Certificates): readonly CertificateEntry[] {
  return [...certificates.values()].map(({ files, serial }) => ({ ...files, serial }));
}

/** Says what sessions get from now on. */
export function logCertificate({ files, ...loaded }: Certificate): void {
  for (const { role, fingerprint, notBefore, notAfter, subject, issuer } of native.inspectCertificate(loaded).chain) {
    const dates = { notbefore: dateTime(notBefore), notafter: dateTime(notAfter) };
    const file = files.cert === '' ? undefined : files.cert;
    log('info', 'cert_loaded', { cert_role: role, fingerprint, ...dates, subject, issuer, file });
  }
}

const chainName = (serial: number): string => `certificate:${serial}:chain`;
const keyName = (serial: number): string => `certificate:${serial}:key`;

/** `before` itself when the files hold nothing else. */
function load(files: CertificateFiles, serial: number, before: Certificate | undefined): Certificate {
  const loaded = files === demoFiles ? makeDemo() : readPair(files);
  try {
    const { fingerprints, keyMatches } = inspect(loaded);
    if (!keyMatches) {
      throw new SystemError(`the key ${files.key} does not match the certificate ${files.cert}`, {
        code: 'EKEYREJECTED',
      });
    }
    if (fingerprints !== before?.fingerprints) return { ...loaded, files, serial, fingerprints };
  } catch (error) {
    closePair(loaded);
    throw error;
  }
  closePair(loaded);
  return before;
}

function makeDemo(): LoadedCertificate {
  return native.generateCertificate({ names: ['localhost', '127.0.0.1', '::1'], days: 30 });
}

function readPair({ cert, key }: CertificateFiles): LoadedCertificate {
  const chainFd = loadFile(cert);
  try {
    return { chainFd, keyFd: loadFile(key) };
  } catch (error) {
    native.closeFd({ fd: chainFd });
    throw error;
  }
}

function closePair({ chainFd, keyFd }: LoadedCertificate): void {
  native.closeFd({ fd: chainFd });
  native.closeFd({ fd: keyFd });
}

function loadFile(path: string): number {
  try {
    return native.loadFile({ path });
  } catch (cause) {
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    throw new SystemError(`can't read ${path}: ${message}`, { code, cause });
  }
}

function inspect({ chainFd, keyFd }: LoadedCertificate): { fingerprints: string; keyMatches: boolean } {
  try {
    const { chain, keyMatches } = native.inspectCertificate({ chainFd, keyFd });
    return { fingerprints: chain.map(({ fingerprint }) => fingerprint).join(), keyMatches };
  } catch (cause) {
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    throw new SystemError(`a certificate can't be used: ${message}`, { code, cause });
  }
}
