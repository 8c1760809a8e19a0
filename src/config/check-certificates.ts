// SPDX-License-Identifier: MIT
// Whether the certificates and keys of a configuration can be used. The addon reads the files: no key becomes a JavaScript value.
import { statSync } from 'node:fs';
import { type CertificateInfo, type CertificateReport, native } from '../native.ts';
import type { CertificateFiles } from './config.ts';
import type { Complaint, Path } from './fault.ts';
import type { CertificateParts, SuiteChoice } from './parts.ts';
import { suites } from './suites.ts';

export interface CertificateCheck {
  readonly complaints: readonly Complaint[];
  /** Undefined when the certificate itself could not be read. */
  readonly report?: CertificateReport;
}

const day = 86_400;
const soonDays = 14;
/** OpenSSL's default security level takes nothing smaller (SSL_CTX_set_security_level(3)). */
const minRsaBits = 2048;

/** `path` is that of the pair, of which a file may be left out. `now` in seconds since the epoch. */
export function checkCertificate(
  files: { readonly cert: string | undefined; readonly key: string | undefined },
  path: Path,
  now: number,
): CertificateCheck {
  const { cert, key } = files;
  const certPath = [...path, 'cert'];
  const keyPath = [...path, 'key'];
  const chainFd = cert === undefined ? undefined : load(cert);
  const keyFd = key === undefined ? undefined : load(key);
  try {
    if (cert !== undefined && key !== undefined && swapped(chainFd, keyFd))
      return checkSwapped({ cert, key }, path, now);
    const complaints: Complaint[] = [];
    if (typeof chainFd === 'object') complaints.push({ ...chainFd, path: certPath });
    if (typeof keyFd === 'object') complaints.push({ ...keyFd, path: keyPath });
    else if (key !== undefined) complaints.push(...rightsComplaints(key, keyPath));
    if (typeof chainFd !== 'number' || cert === undefined) return { complaints };
    const report = inspect(chainFd, -1);
    if ('message' in report) {
      complaints.push({ code: 'ERR_CERTIFICATE_PEM', path: certPath, ...report, hint: certHint(cert) });
      return { complaints };
    }
    complaints.push(...chainComplaints(report, certPath, now));
    if (typeof keyFd === 'number' && key !== undefined) {
      complaints.push(...keyComplaints(chainFd, keyFd, keyPath, { cert, key }));
    }
    return { complaints, report };
  } finally {
    for (const fd of [chainFd, keyFd]) if (typeof fd === 'number') native.closeFd({ fd });
  }
}

/** Whether the one file has no certificate, but the other one has, and a key is in the first. */
function swapped(chainFd: number | FileFault | undefined, keyFd: number | FileFault | undefined): boolean {
  if (typeof chainFd !== 'number' || typeof keyFd !== 'number') return false;
  if (!('message' in inspect(chainFd, -1)) || 'message' in inspect(keyFd, -1)) return false;
  const report = inspect(keyFd, chainFd);
  return !('message' in report) || report.message.includes('encrypted');
}

/** What else is wrong is said of the file that it is about, where that one is named. */
function checkSwapped({ cert, key }: CertificateFiles, path: Path, now: number): CertificateCheck {
  const { complaints, ...rest } = checkCertificate({ cert: key, key: cert }, [], now);
  const message = 'cert and key look swapped';
  const hint = `the certificate is in ${key}, the key in ${cert}`;
  return {
    ...rest,
    complaints: [
      { code: 'ERR_CERTIFICATE_SWAPPED', path: [...path, 'cert'], message, hint },
      ...complaints.map((complaint) => ({
        ...complaint,
        path: [...path, complaint.path[0] === 'cert' ? 'key' : 'cert'],
      })),
    ],
  };
}

/** Served once, whatever the key beside it. */
export function repeatedCertificates(pairs: readonly CertificateParts[]): Complaint[] {
  return pairs.flatMap(({ cert, path }, index) => {
    if (cert === undefined || !pairs.slice(0, index).some((other) => other.cert === cert)) return [];
    const message = `the certificate ${cert} is in the list twice`;
    return [
      { severity: 'warning', code: 'ERR_CERTIFICATE_TWICE', path: [...path, 'cert'], message, hint: 'remove one' },
    ];
  });
}

type FileFault = Omit<Complaint, 'path'>;

function load(path: string): number | FileFault {
  try {
    return native.loadFile({ path });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const known: Readonly<Record<string, readonly [string, string?]>> = {
      ENOENT: [`there is no file ${path}`, 'relative paths start at the directory of the configuration file'],
      ENOTDIR: [`there is no file ${path}`, 'a part of the path is no directory'],
      EACCES: [
        `${path} may not be read by this user`,
        'check the rights of the file and of its directories, or start as root',
      ],
      EISDIR: [`${path} is a directory`, 'name the PEM file in it'],
      EINVAL: [`${path} is no regular file`],
      EFBIG: [`${path} is larger than 1 MiB, which no certificate is`],
    };
    const [text, hint] = known[code ?? ''] ?? [`${path} can not be read: ${message}`];
    return { code: 'ERR_CERTIFICATE_FILE', message: text, hint };
  }
}

function inspect(chainFd: number, keyFd: number): CertificateReport | { readonly message: string } {
  try {
    return native.inspectCertificate({ chainFd, keyFd });
  } catch (error) {
    if (!String((error as NodeJS.ErrnoException).code).startsWith('ERR_CERTIFICATE')) throw error;
    return { message: (error as Error).message };
  }
}

function certHint(file: string): string {
  return `a PEM file has a line "-----BEGIN CERTIFICATE-----"; DER becomes PEM by: openssl x509 -inform DER -in ${file}`;
}

function keyComplaints(chainFd: number, keyFd: number, path: Path, files: CertificateFiles): Complaint[] {
  const report = inspect(chainFd, keyFd);
  if ('message' in report) {
    const hint = report.message.includes('encrypted')
      ? `decrypt it by: openssl pkey -in ${files.key} -out NEW.pem, and keep it readable by its owner only`
      : 'a PEM file has a line "-----BEGIN PRIVATE KEY-----"';
    return [{ code: 'ERR_CERTIFICATE_KEY', path, message: report.message, hint }];
  }
  if (report.keyMatches) return [];
  const message = `the key (${report.keyType}) does not match the certificate of ${nameOf(report.chain[0])}`;
  return [{ code: 'ERR_CERTIFICATE_MISMATCH', path, message, hint: `name the key that ${files.cert} was made for` }];
}

/** A key that all may read is no secret. */
function rightsComplaints(file: string, path: Path): Complaint[] {
  const stat = statSync(file, { throwIfNoEntry: false });
  // it was there a moment ago: somebody renews it
  if (stat === undefined) return [];
  const { mode, gid } = stat;
  const rights = (mode & 0o777).toString(8).padStart(3, '0');
  const hint = `chmod 600 ${file}`;
  if ((mode & 0o007) !== 0) {
    return [
      { code: 'ERR_CERTIFICATE_KEY_RIGHTS', path, message: `the key can be read by everybody (mode ${rights})`, hint },
    ];
  }
  if ((mode & 0o040) === 0 || gid === 0) return [];
  const message = `the key can be read by the group ${gid} (mode ${rights})`;
  return [{ severity: 'warning', code: 'ERR_CERTIFICATE_KEY_RIGHTS', path, message, hint }];
}

function chainComplaints(report: CertificateReport, path: Path, now: number): Complaint[] {
  const { chain } = report;
  const [leaf] = chain;
  const complaints = chain.flatMap((certificate, index) => timeComplaints(certificate, index, path, now));
  const bits = /^RSA (\d+)$/.exec(leaf?.keyType ?? '')?.[1];
  if (bits !== undefined && Number(bits) < minRsaBits) {
    complaints.push({
      code: 'ERR_CERTIFICATE_WEAK',
      path,
      message: `the key of the certificate has ${bits} bits, RSA needs ${minRsaBits}`,
      hint: 'have it issued again with a longer key',
    });
  }
  const broken = chain.findIndex((certificate, index) => {
    const next = chain[index + 1];
    return next !== undefined && certificate.issuer !== next.subject;
  });
  if (broken < 0) return complaints;
  const leafLater = chain
    .slice(1)
    .some((certificate) => certificate.issuer === leaf?.subject && certificate.subject !== leaf.subject);
  const message = leafLater
    ? `the certificate of ${nameOf(leaf)} comes first, but others of the file are issued by it`
    : `certificate ${broken + 1} of the file is issued by ${quotedName(chain[broken]?.issuer)}, but certificate ${broken + 2} is ${quotedName(chain[broken + 1]?.subject)}`;
  const hint = 'the order is: your certificate, then each issuer after what it issued';
  return [...complaints, { code: 'ERR_CERTIFICATE_CHAIN', path, message, hint }];
}

function timeComplaints(certificate: CertificateInfo, index: number, path: Path, now: number): Complaint[] {
  const what =
    index === 0 ? `the certificate of ${nameOf(certificate)}` : `the intermediate ${quotedName(certificate.subject)}`;
  if (now > certificate.notAfter) {
    const message = `${what} has expired on ${dateText(certificate.notAfter)}`;
    return [{ code: 'ERR_CERTIFICATE_EXPIRED', path, message, hint: 'renew it' }];
  }
  if (now < certificate.notBefore) {
    const message = `${what} is not valid before ${dateText(certificate.notBefore)}`;
    return [{ code: 'ERR_CERTIFICATE_NOT_YET_VALID', path, message, hint: 'is the clock of this machine right?' }];
  }
  const days = Math.floor((certificate.notAfter - now) / day);
  if (days >= soonDays) return [];
  const left = days === 0 ? 'in less than a day' : `in ${days} day${days === 1 ? '' : 's'}`;
  const message = `${what} expires ${left}, on ${dateText(certificate.notAfter)}`;
  return [{ severity: 'warning', code: 'ERR_CERTIFICATE_EXPIRES', path, message, hint: 'renew it' }];
}

/** A certificate that TLS 1.2 clients can't get, as every suite of the list signs with another kind of key. */
export function suiteComplaints(
  { minVersion, ciphers }: SuiteChoice,
  reports: readonly (CertificateReport | undefined)[],
  path: Path,
): Complaint[] {
  if (minVersion !== '1.2' || ciphers.length === 0) return [];
  const kinds = new Set(suites.filter(({ name }) => ciphers.includes(name)).flatMap(({ key }) => key ?? []));
  const fits = (report: CertificateReport) => kinds.has(keyKind(report));
  const known = reports.filter((report) => report !== undefined);
  // one that can't be read may be the one that fits
  if (known.length < reports.length || kinds.size === 0) return [];
  return known.flatMap((report, index) => {
    if (fits(report)) return [];
    const names = report.chain[0]?.names ?? [];
    // an RSA certificate may stand beside an ECDSA one of the same names
    if (known.some((other) => fits(other) && names.every((name) => other.chain[0]?.names.includes(name)))) return [];
    const message = `no TLS 1.2 suite of the list fits the certificate of ${nameOf(report.chain[0])}, whose key is ${report.chain[0]?.keyType}`;
    const hint = `add a suite TLS_ECDHE_${keyKind(report)}_WITH_..., or set min_version: "1.3"`;
    return [{ code: 'ERR_CERTIFICATE_SUITES', path: [...path, 'certificates', index, 'cert'], message, hint }];
  });
}

/** EdDSA certificates are used by the ECDSA suites (RFC 8422, 5.1.1). */
function keyKind(report: CertificateReport): 'RSA' | 'ECDSA' {
  return report.chain[0]?.keyType.startsWith('RSA') ? 'RSA' : 'ECDSA';
}

function nameOf(certificate: CertificateInfo | undefined): string {
  return certificate?.names[0] ?? quotedName(certificate?.subject);
}

function quotedName(name: string | undefined): string {
  return `"${name ?? ''}"`;
}

/** `2026-11-21 02:15 UTC` */
export function dateText(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
