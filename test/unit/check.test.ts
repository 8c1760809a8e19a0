// SPDX-License-Identifier: MIT
// What the machine must have: certificates and keys made by openssl, ports, rights, limits.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type ListenOptions, type Server } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { summary } from '../../src/commands/check.ts';
import { checkConfig, examine } from '../../src/config/check.ts';
import { checkCertificate, suiteComplaints } from '../../src/config/check-certificates.ts';
import { fileLimit, filesFor } from '../../src/config/defaults.ts';
import { parseConfigArguments } from '../../src/config/flags.ts';
import { loadConfig, type Reading, readConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/errors.ts';
import { native } from '../../src/native.ts';
import * as certificates from '../helpers/certificates.ts';
import { kernelWithoutRekey, kernelWithoutTls, newKernel } from '../helpers/kernel-reports.ts';
import { afterAll, type TestContext, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const path = (name: string) => join(directory, name);
const asRoot = process.getuid?.() === 0 ? undefined : 'needs root';

function write(name: string, ...parts: string[]): string {
  writeFileSync(path(name), parts.map((part) => readFileSync(part, 'latin1')).join(''), { mode: 0o600 });
  return path(name);
}

/** `KEY CODE: message (hint)`; `~` in front of a warning. */
function complaints(cert: string, key: string, at = Date.now() / 1000): string[] {
  return checkCertificate({ cert, key }, [], at).complaints.map(({ severity, path, code, message, hint }) => {
    const mark = severity === 'warning' ? '~' : '';
    const text = `${mark}${path.join('.')} ${code.replace('ERR_CERTIFICATE_', '')}: ${message}${hint === undefined ? '' : ` (${hint})`}`;
    return text.replaceAll(directory, 'DIRECTORY');
  });
}

function load(...args: string[]): Reading {
  const { cert, key } = certificates.ecdsa;
  const basics = ['--backend', 'app:80', '--cert', cert, '--key', key];
  return readConfig(
    parseConfigArguments([...(args.includes('--listen') ? [] : ['--listen', '127.0.0.1:65123']), ...basics, ...args]),
  );
}

function faults(reading: Reading, ports = false, starting = false): string[] {
  return examine(reading, { ports, starting }).faults.map(
    ({ severity, flag, message }) => `${severity === 'warning' ? '~' : ''}${flag}: ${message}`,
  );
}

async function listening(t: TestContext, options: ListenOptions): Promise<Server> {
  const server = createServer();
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(options, resolve));
  return server;
}

test('good certificates raise no complaint', () => {
  for (const { cert, key } of [certificates.ecdsa, certificates.rsa, certificates.chain])
    assert.equal(complaints(cert, key), []);
});

test('files that are not there, or no files', () => {
  const { cert, key } = certificates.ecdsa;
  const hint = 'relative paths start at the directory of the configuration file';
  assert.equal(complaints(path('none.pem'), path('none.key')), [
    `cert FILE: there is no file DIRECTORY/none.pem (${hint})`,
    `key FILE: there is no file DIRECTORY/none.key (${hint})`,
  ]);
  assert.equal(complaints(directory, key), ['cert FILE: DIRECTORY is a directory (name the PEM file in it)']);
  assert.equal(complaints(cert, `${cert}/x`), [
    `key FILE: there is no file ${cert}/x (a part of the path is no directory)`,
  ]);
  assert.equal(complaints(cert, '/dev/null'), ['key FILE: /dev/null is no regular file']);
});

test('files that are no PEM', () => {
  const { cert, key } = certificates.ecdsa;
  execFileSync('openssl', ['x509', '-in', cert, '-outform', 'DER', '-out', path('cert.der')]);
  const pem =
    'a PEM file has a line "-----BEGIN CERTIFICATE-----"; DER becomes PEM by: openssl x509 -inform DER -in DIRECTORY/';
  assert.equal(complaints(path('cert.der'), key), [`cert PEM: no certificate found (${pem}cert.der)`]);
  assert.equal(complaints(write('swapped.pem', key), key), [`cert PEM: no certificate found (${pem}swapped.pem)`]);
  const hint = 'a PEM file has a line "-----BEGIN PRIVATE KEY-----"';
  assert.equal(complaints(cert, write('swapped.key', cert)), [`key KEY: no private key found (${hint})`]);
  writeFileSync(path('empty'), '', { mode: 0o600 });
  assert.equal(complaints(cert, path('empty')), [`key KEY: no private key found (${hint})`]);
  const broken = readFileSync(cert, 'latin1').replace(/\n[^-\n]{10}/, '\n!!!!!!!!!!');
  writeFileSync(path('broken.pem'), broken);
  assert.match(complaints(path('broken.pem'), key)[0] ?? '', /^cert PEM: the PEM is damaged/);
});

test('a key that is encrypted, or of another certificate', () => {
  const { cert, key } = certificates.ecdsa;
  execFileSync('openssl', ['pkey', '-in', key, '-aes256', '-passout', 'pass:x', '-out', path('locked.key')]);
  assert.equal(complaints(cert, path('locked.key')), [
    'key KEY: the private key is encrypted; it has to be stored without a passphrase (decrypt it by: openssl pkey -in DIRECTORY/locked.key -out NEW.pem, and keep it readable by its owner only)',
  ]);
  assert.equal(complaints(cert, certificates.strangeKey), [
    `key MISMATCH: the key (EC P-256) does not match the certificate of localhost (name the key that ${cert} was made for)`,
  ]);
});

test('cert and key swapped', () => {
  const { cert, key } = certificates.ecdsa;
  const swapped = 'cert SWAPPED: cert and key look swapped';
  assert.equal(complaints(key, cert), [`${swapped} (the certificate is in ${cert}, the key in ${key})`]);
  const copy = write('open.key', key);
  chmodSync(copy, 0o644);
  assert.equal(complaints(copy, certificates.rsa.cert), [
    `${swapped} (the certificate is in ${certificates.rsa.cert}, the key in DIRECTORY/open.key)`,
    'cert KEY_RIGHTS: the key can be read by everybody (mode 644) (chmod 600 DIRECTORY/open.key)',
    `cert MISMATCH: the key (EC P-256) does not match the certificate of localhost (name the key that ${certificates.rsa.cert} was made for)`,
  ]);
});

test('rights of the key', () => {
  const { cert, key } = certificates.ecdsa;
  const copy = path('rights.key');
  copyFileSync(key, copy);
  chmodSync(copy, 0o644);
  assert.equal(complaints(cert, copy), [
    'key KEY_RIGHTS: the key can be read by everybody (mode 644) (chmod 600 DIRECTORY/rights.key)',
  ]);
  chmodSync(copy, 0o640);
  if (process.getuid?.() === 0) {
    assert.equal(complaints(cert, copy), []);
    chownSync(copy, 0, 65534);
    assert.equal(complaints(cert, copy), [
      '~key KEY_RIGHTS: the key can be read by the group 65534 (mode 640) (chmod 600 DIRECTORY/rights.key)',
    ]);
  }
  chmodSync(copy, 0o600);
  assert.equal(complaints(cert, copy), []);
});

test(
  'a key that this user may not read',
  (t) => {
    const { cert, key } = certificates.ecdsa;
    const [copy, secret] = [path('copy.pem'), write('secret.key', key)];
    copyFileSync(cert, copy);
    chmodSync(directory, 0o755);
    chmodSync(copy, 0o644);
    t.after(() => process.seteuid?.(0));
    process.seteuid?.(65534);
    assert.equal(complaints(copy, secret), [
      'key FILE: DIRECTORY/secret.key may not be read by this user (check the rights of the file and of its directories, or start as root)',
    ]);
  },
  { skip: asRoot },
);

test('times of a certificate', () => {
  const { cert, key } = certificates.ecdsa;
  const { notBefore, notAfter } = checkCertificate({ cert, key }, [], Date.now() / 1000).report?.chain[0] ?? {
    notBefore: 0,
    notAfter: 0,
  };
  const date = (seconds: number) => `${new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  const at = (seconds: number) => complaints(cert, key, seconds);
  assert.equal(at(notAfter + 1), [
    `cert EXPIRED: the certificate of localhost has expired on ${date(notAfter)} (renew it)`,
  ]);
  assert.equal(at(notBefore - 1), [
    `cert NOT_YET_VALID: the certificate of localhost is not valid before ${date(notBefore)} (is the clock of this machine right?)`,
  ]);
  assert.equal(at(notAfter - 14 * 86_400), []);
  assert.equal(at(notAfter - 14 * 86_400 + 1), [
    `~cert EXPIRES: the certificate of localhost expires in 13 days, on ${date(notAfter)} (renew it)`,
  ]);
  assert.equal(at(notAfter - 86_400), [
    `~cert EXPIRES: the certificate of localhost expires in 1 day, on ${date(notAfter)} (renew it)`,
  ]);
  assert.equal(at(notAfter), [
    `~cert EXPIRES: the certificate of localhost expires in less than a day, on ${date(notAfter)} (renew it)`,
  ]);
  assert.match(complaints(certificates.expired.cert, certificates.expired.key)[0] ?? '', /^cert EXPIRED/);
});

test('the order of a chain', () => {
  const { cert, key } = certificates.chain;
  const [leaf = '', intermediate = ''] = readFileSync(cert, 'latin1').split(/(?<=-----END CERTIFICATE-----\n)/);
  const order = 'the order is: your certificate, then each issuer after what it issued';
  writeFileSync(path('reversed.pem'), intermediate + leaf);
  assert.equal(complaints(path('reversed.pem'), key), [
    `cert CHAIN: the certificate of intermediate.test comes first, but others of the file are issued by it (${order})`,
    'key MISMATCH: the key (EC P-256) does not match the certificate of intermediate.test (name the key that DIRECTORY/reversed.pem was made for)',
  ]);
  const root = readFileSync(certificates.rootCa, 'latin1');
  writeFileSync(path('gap.pem'), leaf + root + intermediate);
  assert.equal(complaints(path('gap.pem'), key), [
    `cert CHAIN: certificate 1 of the file is issued by "CN=intermediate.test", but certificate 2 is "CN=root.test" (${order})`,
  ]);
  writeFileSync(path('whole.pem'), leaf + intermediate + root);
  assert.equal(complaints(path('whole.pem'), key), []);
});

test('an RSA key that OpenSSL would refuse', () => {
  const args = [
    'req',
    '-x509',
    '-nodes',
    '-newkey',
    'rsa:1024',
    '-subj',
    '/CN=weak.test',
    '-days',
    '30',
    '-keyout',
    path('weak.key'),
    '-out',
    path('weak.pem'),
  ];
  execFileSync('openssl', args, { stdio: 'ignore' });
  assert.equal(complaints(path('weak.pem'), path('weak.key')), [
    'cert WEAK: the key of the certificate has 1024 bits, RSA needs 2048 (have it issued again with a longer key)',
  ]);
});

test('a TLS 1.2 list without a suite for the kind of key', () => {
  const { ecdsa, rsa, other } = certificates;
  const fit = (ciphers: string, files: readonly certificates.TestCertificate[], ...more: string[]) => {
    const pairs = files.flatMap(({ cert, key }) => ['--cert', cert, '--key', key]);
    const args = ['--listen', '127.0.0.1:1', '--backend', 'a:1', '--cipher', ciphers, ...pairs, ...more];
    const [listener] = loadConfig(parseConfigArguments(args)).listeners;
    if (listener === undefined) throw new Error('no listener');
    const reports = listener.certificates.map((pair) => checkCertificate(pair, [], Date.now() / 1000).report);
    return suiteComplaints(listener, reports, ['listeners', 0]).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );
  };
  const forRsa = 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256';
  const no = (index: number, name: string) =>
    `listeners.0.certificates.${index}.cert: no TLS 1.2 suite of the list fits the certificate of ${name}, whose key is EC P-256`;
  assert.equal(fit(forRsa, [ecdsa]), [no(0, 'localhost')]);
  assert.equal(fit(forRsa, [rsa]), []);
  assert.equal(fit(forRsa, [rsa, ecdsa]), [], 'the RSA certificate has the same names');
  assert.equal(fit(forRsa, [rsa, other]), [no(1, 'other.test')]);
  assert.equal(fit('TLS_AES_128_GCM_SHA256', [ecdsa]), [], 'TLS 1.2 is not offered');
  assert.equal(fit(`${forRsa},TLS_AES_128_GCM_SHA256`, [ecdsa], '--min-version', '1.3'), []);
});

test('a port in use, and by whom', async (t) => {
  const server = await listening(t, { host: '127.0.0.1', port: 0 });
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const by = `is in use by ${readFileSync('/proc/self/comm', 'utf8').trim()} (pid ${process.pid})`;
  assert.equal(faults(load('--listen', `127.0.0.1:${port}`), true), [`--listen: 127.0.0.1:${port} ${by}`]);
  assert.equal(faults(load('--listen', `*:${port}`), true), [`--listen: *:${port} ${by}`]);
  assert.equal(faults(load('--listen', `127.0.0.1:${port}`), false), []);
});

test('a port that the running ironsocket has is only a warning, but to one that starts', async (t) => {
  mkdirSync(path('dist/master'), { recursive: true });
  const script =
    "require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })";
  const main = path('dist/master/main.js');
  writeFileSync(main, script);
  const other = path('other.js');
  writeFileSync(other, script);
  // At its start, before an upgrade and after one.
  for (const [argv0, ...args] of [
    ['node', main],
    ['ironsocket: keeper', other, main],
    ['ironsocket: keeper', other],
  ]) {
    const running = spawn(process.execPath, args, { argv0, stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => running.kill('SIGKILL'));
    const [port] = await once(running.stdout, 'data');
    const address = `127.0.0.1:${String(port).trim()}`;
    const told = `--listen: ${address} is in use by ironsocket itself (pid ${running.pid})`;
    assert.equal(faults(load('--listen', address), true), [`~${told}`]);
    assert.equal(faults(load('--listen', address), true, true), [told]);
  }
});

test('a unix socket in use, a path that is no socket, a directory that is not there', async (t) => {
  await listening(t, { path: path('live.sock') });
  assert.match(faults(load('--listen', `unix:${path('live.sock')}`), true)[0] ?? '', `live.sock is in use by `);
  writeFileSync(path('plain'), '');
  assert.equal(faults(load('--listen', `unix:${path('plain')}`), true), [
    `--listen: ${path('plain')} is there, and is no socket`,
  ]);
  assert.equal(faults(load('--listen', `unix:${path('none/x')}`), true), [
    `--listen: there is no directory ${path('none')}`,
  ]);
  assert.equal(faults(load('--listen', `unix:${path('new.sock')}`), true), []);
});

test('an address of another machine', () => {
  assert.equal(faults(load('--listen', '192.0.2.1:65123'), true), [
    '--listen: 192.0.2.1 is not an address of this machine',
  ]);
});

test(
  'a port that needs rights',
  (t) => {
    t.after(() => process.seteuid?.(0));
    process.seteuid?.(65534);
    assert.equal(
      faults(load('--listen', '127.0.0.1:443')).filter((fault) => fault.startsWith('--listen')),
      ['--listen: port 443 is only for those with CAP_NET_BIND_SERVICE, which this user has not'],
    );
  },
  {
    skip:
      asRoot ??
      (Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8')) > 443
        ? undefined
        : 'port 443 needs no rights here'),
  },
);

test('a socket of systemd', (t) => {
  const before = process.env.LISTEN_FDNAMES;
  t.after(() => {
    if (before === undefined) delete process.env.LISTEN_FDNAMES;
    else process.env.LISTEN_FDNAMES = before;
  });
  delete process.env.LISTEN_FDNAMES;
  assert.equal(faults(load('--listen', 'systemd:web'), true), [
    '~--listen: whether systemd passes a socket "web" can not be seen here',
  ]);
  process.env.LISTEN_FDNAMES = 'a:web';
  assert.equal(faults(load('--listen', 'systemd:web'), true), []);
  assert.equal(faults(load('--listen', 'systemd:b'), true), ['--listen: systemd passes no socket "b", but a, web']);
});

test('a backend that leads back by an address of this machine', () => {
  const own = Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === 'IPv4' && !address.internal)?.address;
  if (own === undefined) return;
  const { cert, key } = certificates.ecdsa;
  const config = readConfig(
    parseConfigArguments(['--listen', '*:65123', '--backend', `${own}:65123`, '--cert', cert, '--key', key]),
  );
  assert.equal(faults(config), [`--backend: the backend "${own}:65123" is the listener itself`]);
});

test('users and groups', () => {
  assert.equal(faults(load('--user', 'nosuchuser')), ['--user: there is no user "nosuchuser" on this machine']);
  assert.equal(faults(load('--user', 'nobody', '--group', 'nosuchgroup')), [
    '--group: there is no group "nosuchgroup" on this machine',
  ]);
  assert.equal(faults(load('--user', 'nosuchuser', '--group', 'nosuchgroup')), [
    '--user: there is no user "nosuchuser" on this machine',
    '--group: there is no group "nosuchgroup" on this machine',
  ]);
  assert.equal(faults(load('--user', '-x', '--group', 'nosuchgroup')), [
    '--user: "-x" is not a name of a user or group',
    '--group: there is no group "nosuchgroup" on this machine',
  ]);
  assert.equal(faults(load('--user', '54321', '--group', '-x')), ['--group: "-x" is not a name of a user or group']);
  assert.equal(faults(load('--user', '54321')), ['--user: no user has the number 54321, so its group is not known']);
  if (process.getuid?.() === 0) {
    assert.equal(faults(load('--user', '54321', '--group', '54321')), []);
    assert.equal(faults(load('--user', 'nobody')), []);
  } else
    assert.equal(faults(load('--user', 'nobody')), ['~--user: "user" is ignored: only root can become another user']);
});

test('more connections than files', () => {
  const limit = fileLimit();
  const most = Math.floor((limit - 512) / 2);
  if (most >= 10_000_000) return;
  assert.equal(faults(load('--max-connections', String(most))), []);
  assert.equal(faults(load('--max-connections', String(most + 1))), [
    `--max-connections: ${most + 1} connections need ${filesFor(most + 1)} open files, the limit is ${limit}`,
  ]);
});

test('a log that can not be written', (t) => {
  assert.equal(faults(load('--log-file', path('x.log'))), []);
  assert.equal(faults(load('--log-file', directory)), [`--log-file: ${directory} is a directory`]);
  assert.equal(faults(load('--log-file', path('none/x.log'))), [`--log-file: there is no directory ${path('none')}`]);
  if (asRoot !== undefined) return;
  mkdirSync(path('theirs'), { mode: 0o700 });
  const config = load('--log-file', path('theirs/x.log'));
  t.after(() => process.seteuid?.(0));
  process.seteuid?.(65534);
  assert.ok(faults(config).includes(`--log-file: ${path('theirs/x.log')} can not be written by this user`));
});

test('a fault of the environment stands where the file names what is missing', () => {
  writeFileSync(
    path('c.yaml'),
    `listeners:\n  - listen: 127.0.0.1:65123\n    backend: app:80\n    certificates:\n      - { cert: none.pem, key: none.key }\nmax_connections: 9999999\n`,
  );
  const { faults } = examine(readConfig({ file: path('c.yaml') }), { ports: false, starting: false });
  const places = faults.map(({ line, column, length, code }) => `${line}:${column}+${length} ${code}`);
  assert.equal(places.slice(0, 2), ['5:17+8 ERR_CERTIFICATE_FILE', '5:32+8 ERR_CERTIFICATE_FILE']);
});

/** `LINE:COLUMN PATH: message`; `~` in front of a warning. */
function faultsOf(text: string): string[] {
  writeFileSync(path('all.yaml'), text);
  try {
    const { warnings } = checkConfig({ file: path('all.yaml') }, { starting: false });
    return warnings.map(({ line, column, message }) =>
      `~${line}:${column} ${message}`.replaceAll(directory, 'DIRECTORY'),
    );
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults.map(({ severity, line, column, path, message }) =>
      `${severity === 'warning' ? '~' : ''}${line}:${column} ${path}: ${message}`.replaceAll(directory, 'DIRECTORY'),
    );
  }
}

test('faults of the text hide none of the machine, and no place shifts', async (t) => {
  const server = await listening(t, { host: '127.0.0.1', port: 0 });
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const { cert, key } = certificates.ecdsa;
  const text = `user: "-x"
group: nosuchgroup
log: { level: loud, file: none/x.log }
listeners:
  - 5
  - listen: ["localhost:1", "127.0.0.1:${port}"]
    backnd: unix:x
    certificates:
      - { crt: a, key: none.key }
      - { cert: [], key: [] }
      - { cert: ${cert}, key: ${certificates.strangeKey} }
  - { listen: 127.0.0.1:65123, backend: app:0, certificates: [{ cert: ${key}, key: ${cert} }], v6_only: yes }
`;
  const by = `is in use by ${readFileSync('/proc/self/comm', 'utf8').trim()} (pid ${process.pid})`;
  assert.equal(faultsOf(text), [
    '1:7 user: "-x" is not a name of a user or group',
    '2:8 group: there is no group "nosuchgroup" on this machine',
    '3:15 log.level: "loud" is not one of fatal, error, warn, info or debug',
    '3:27 log.file: there is no directory DIRECTORY/none',
    '5:5 listeners[0]: "5" is no group of keys',
    '6:14 listeners[1].listen[0]: "localhost" is not an address of this machine',
    `6:29 listeners[1].listen[1]: 127.0.0.1:${port} ${by}`,
    '7:5 listeners[1].backnd: unknown key "backnd"',
    '9:11 listeners[1].certificates[0].crt: unknown key "crt"',
    '9:24 listeners[1].certificates[0].key: there is no file DIRECTORY/none.key',
    '10:17 listeners[1].certificates[1].cert: a list can not be here',
    '10:26 listeners[1].certificates[1].key: a list can not be here',
    `11:${24 + cert.length} listeners[1].certificates[2].key: the key (EC P-256) does not match the certificate of localhost`,
    '12:41 listeners[2].backend: port 0 is out of range',
    '12:71 listeners[2].certificates[0].cert: cert and key look swapped',
    `12:${92 + cert.length + key.length} listeners[2].v6_only: "yes" is neither true nor false`,
  ]);
});

test('what the text already tells is not told again', async (t) => {
  const server = await listening(t, { host: '127.0.0.1', port: 0 });
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const pair = `{ cert: ${certificates.ecdsa.cert}, key: ${certificates.ecdsa.key} }`;
  const text = (listen: string, backend: string, more: string) =>
    `listeners:\n  - listen: ${listen}\n    backend: ${backend}\n    certificates: [${pair}]\n${more}`;
  const start = (fault: string) => fault.split(': ', 2).join(': ');
  const again = `["127.0.0.1:${port}", "127.0.0.1:${port}"]`;
  assert.equal(
    faultsOf(text(again, 'app:80', '')).map((fault) => fault.replace(/ by .*/, '')),
    [
      `2:14 listeners[0].listen[0]: 127.0.0.1:${port} is in use`,
      `2:${18 + `127.0.0.1:${port}`.length} listeners[0].listen[1]: "127.0.0.1:${port}" is listened on twice`,
    ],
  );
  assert.equal(faultsOf(text('127.0.0.1:65123', '127.0.0.1:65123', '')).map(start), [
    '3:14 listeners[0].backend: the backend "127.0.0.1:65123" is the listener itself',
  ]);
  assert.equal(
    faultsOf(text('"*:65123"', 'app:80', 'tls: { ciphers: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_X] }\n')),
    ['5:57 tls.ciphers[1]: "TLS_X" is not a suite that ironsocket has'],
  );
  assert.equal(faultsOf(text('"*:65123"', `{ a: 1 }`, '')), [
    '3:14 listeners[0].backend: a group of keys can not be here',
  ]);
});

test('a unix backend, a certificate that is there twice', async (t) => {
  const pair = `{ cert: ${certificates.ecdsa.cert}, key: ${certificates.ecdsa.key} }`;
  const text = (backend: string, pairs: string, more = '') =>
    `listeners:\n  - listen: 127.0.0.1:65123\n    backend: ${backend}\n    certificates: [${pairs}]\n${more}`;
  assert.equal(faultsOf(text('unix:no.sock', pair, '    on_truncation: reset\n')), [
    '~3:14 there is no socket DIRECTORY/no.sock',
    '~5:20 a unix socket knows no reset: the backend sees the end of data, as with fin',
  ]);
  assert.equal(faultsOf(text('unix:@no', pair)), []);
  await listening(t, { path: path('there.sock') });
  assert.equal(faultsOf(text('unix:there.sock', pair)), []);
  assert.equal(faultsOf(text('app:80', `${pair}, ${pair}`, '    on_truncation: reset\n')), [
    `~4:${30 + pair.length} the certificate ${certificates.ecdsa.cert} is in the list twice`,
  ]);
});

test('the summary says what would be served', () => {
  const { cert, key } = certificates.ecdsa;
  const basics = ['--listen', '127.0.0.1:65123', '--backend', 'app:80', '--cert', cert, '--key', key];
  const request = parseConfigArguments([...basics, '--name', 'web', '--alpn', 'h2', '--proxy-protocol', 'v2']);
  const checked = { ...checkConfig(request, { starting: false }), kernel: kernelWithoutRekey };
  const [[report] = []] = checked.certificates;
  const notAfter = report?.chain[0]?.notAfter ?? 0;
  const date = `${new Date(notAfter * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  assert.is(
    summary('x.yaml', checked, notAfter - 10.5 * 86_400),
    `x.yaml: OK

  web: 127.0.0.1:65123 -> app:80
    TLS 1.2 and 1.3, ALPN h2, PROXY v2 to the backend
    offload auto: TLS 1.2 kernel, TLS 1.3 userspace (the kernel can't rekey TLS 1.3)
    certificate localhost, example.test (EC P-256), expires ${date}, in 10 days
`,
  );
  const lineOf = (...args: string[]) => {
    const other = checkConfig(parseConfigArguments([...basics, ...args]), { starting: false });
    return /^ {4}offload.*$/m.exec(summary('x.yaml', { ...other, kernel }, 0))?.[0].trim();
  };
  let kernel = kernelWithoutTls('ENOENT');
  assert.is(
    lineOf('--offload-after', '64KiB'),
    'offload auto: TLS 1.2 userspace, TLS 1.3 userspace (the kernel has no TLS)',
  );
  kernel = newKernel;
  assert.is(lineOf('--offload-after', '64KiB'), 'offload auto after 64KiB: TLS 1.2 kernel, TLS 1.3 kernel');
  const never = ['--offload', 'userspace', '--offload-after', '64KiB'];
  assert.is(lineOf(...never), 'offload userspace', 'nothing goes over after 64KiB');
});

test('no descriptor is left behind', () => {
  const probe = () => native.duplicateFd({ fd: 0 });
  const before = probe();
  native.closeFd({ fd: before });
  complaints(certificates.chain.cert, certificates.chain.key);
  complaints(certificates.ecdsa.cert, certificates.strangeKey);
  complaints(path('none'), certificates.ecdsa.key);
  faults(load(), true);
  const after = probe();
  native.closeFd({ fd: after });
  assert.is(after, before);
});

test('the control socket: a path that can be made, or that of the service itself', async (t) => {
  const control = (value: string) => ['--control', value];
  assert.equal(faults(load(...control(path('control.sock'))), true), []);
  assert.equal(faults(load(...control('off')), true), []);
  assert.equal(faults(load(...control('/none/control.sock')), true), ['--control: there is no directory /none']);
  assert.match(faults(load(...control(path('x'.repeat(120)))), true)[0] ?? '', /a unix socket takes 107$/);
  writeFileSync(path('plain'), '');
  assert.match(faults(load(...control(path('plain'))), true)[0] ?? '', /is there, and is no socket$/);
  await listening(t, { path: path('taken.sock') });
  const taken = load(...control(path('taken.sock')));
  assert.match(faults(taken, true)[0] ?? '', /taken\.sock is in use by/);
  const held = new Set([`unix:${path('taken.sock')}`, '127.0.0.1:65123']);
  assert.equal(examine(taken, { ports: true, starting: true, held }).faults, []);
});

test('an address whose socket the service has is not tried', async (t) => {
  await listening(t, { port: 65124, host: '127.0.0.1' });
  const reading = load('--listen', '127.0.0.1:65124');
  const check = (held: ReadonlySet<string>) => examine(reading, { ports: true, starting: true, held }).faults.length;
  assert.equal([check(new Set()), check(new Set(['127.0.0.1:65124']))], [1, 0]);
});
