// SPDX-License-Identifier: MIT
// Certificates for tests, made by the openssl command once per run (IRONSOCKET_TEST_CERTIFICATES names the directory) or once per process.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestCertificate {
  /** Paths of PEM files. */
  readonly cert: string;
  readonly key: string;
}

/** For localhost, example.test, 127.0.0.1 and ::1, both self-signed. */
const localNames = 'DNS:localhost,DNS:example.test,IP:127.0.0.1,IP:::1';

const directory = process.env.IRONSOCKET_TEST_CERTIFICATES ?? ownDirectory();
if (!existsSync(directory)) mkdirSync(directory, { recursive: true });
if (!existsSync(join(directory, 'complete'))) makeAll();

export const ecdsa = named('ecdsa');
export const rsa = named('rsa');
/** ECDSA, for other.test and *.wild.test. */
export const other = named('other');
/** ECDSA, for localhost, by rootCa, ended a day ago. */
export const expired = named('expired');
/** ECDSA leaf for chain.test, followed in its file by an intermediate; rootCa signed that. */
export const chain = named('chain');
export const rootCa = join(directory, 'root.crt');
/** Matches none of the certificates. */
export const strangeKey = join(directory, 'strange.key');

/** DER of the first certificate of a file, as tls.TLSSocket.getPeerCertificate().raw has it. */
export function derOf(certificate: TestCertificate): Buffer {
  const match = /-----BEGIN CERTIFICATE-----([^-]*)-----END/.exec(readFileSync(certificate.cert, 'latin1'));
  return Buffer.from(match?.[1] ?? '', 'base64');
}

/** A copy of a file that only its owner may read, put in place at once. */
export function put(from: string, to: string): void {
  writeFileSync(`${to}.new`, readFileSync(from), { mode: 0o600 });
  renameSync(`${to}.new`, to);
}

function named(name: string): TestCertificate {
  return { cert: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) };
}

function ownDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'ironsocket-certificates-'));
  process.on('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}

function makeAll(): void {
  selfSigned('ecdsa', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], localNames);
  selfSigned('rsa', ['-newkey', 'rsa:2048'], localNames);
  selfSigned('other', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], 'DNS:other.test,DNS:*.wild.test');
  selfSigned('root', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], 'DNS:root.test');
  signed('expired', 'root', `subjectAltName=${localNames}`, -1);
  signed('intermediate', 'root', 'basicConstraints=critical,CA:TRUE');
  signed('chain', 'intermediate', 'subjectAltName=DNS:chain.test');
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'strange.key');
  const both = ['chain.crt', 'intermediate.crt'].map((file) => readFileSync(join(directory, file), 'latin1'));
  writeFileSync(join(directory, 'chain.crt'), both.join(''));
  writeFileSync(join(directory, 'complete'), '');
}

function selfSigned(name: string, how: readonly string[], names: string): void {
  const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`];
  openssl(
    'req',
    '-x509',
    '-nodes',
    '-days',
    '30',
    ...how,
    '-subj',
    `/CN=${name}.test`,
    '-addext',
    `subjectAltName=${names}`,
    ...files,
  );
}

function signed(name: string, by: string, extension: string, days = 30): void {
  openssl(
    'req',
    '-new',
    '-nodes',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-subj',
    `/CN=${name}.test`,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
  );
  writeFileSync(join(directory, `${name}.ext`), extension);
  openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    `${by}.crt`,
    '-CAkey',
    `${by}.key`,
    '-CAcreateserial',
    '-days',
    String(days),
    '-extfile',
    `${name}.ext`,
    '-out',
    `${name}.crt`,
  );
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
}
