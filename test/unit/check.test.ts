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
import { type LoadedConfig, loadConfig } from '../../src/config/load.ts';
import { native } from '../../src/native.ts';
import * as certificates from '../helpers/certificates.ts';
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

function load(...args: string[]): LoadedConfig {
  const { cert, key } = certificates.ecdsa;
  const basics = ['--backend', 'app:80', '--cert', cert, '--key', key];
  return loadConfig(
    parseConfigArguments([...(args.includes('--listen') ? [] : ['--listen', '127.0.0.1:65123']), ...basics, ...args]),
  );
}

function faults(config: LoadedConfig, ports = false): string[] {
  return checkConfig(config, { ports }).map(
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

test('a port that the running ironsocket has is only a warning', async (t) => {
  mkdirSync(path('dist/master'), { recursive: true });
  const script =
    "require('net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })";
  writeFileSync(path('dist/master/main.js'), script);
  const master = spawn(process.execPath, [path('dist/master/main.js')], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => master.kill('SIGKILL'));
  const [port] = await once(master.stdout, 'data');
  const address = `127.0.0.1:${String(port).trim()}`;
  assert.equal(faults(load('--listen', address), true), [
    `~--listen: ${address} is in use by ironsocket itself (pid ${master.pid})`,
  ]);
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
  const config = loadConfig(
    parseConfigArguments(['--listen', '*:65123', '--backend', `${own}:65123`, '--cert', cert, '--key', key]),
  );
  assert.equal(faults(config), [`--backend: the backend "${own}:65123" is the listener itself`]);
});

test('users and groups', () => {
  assert.equal(faults(load('--user', 'nosuchuser')), ['--user: there is no user "nosuchuser" on this machine']);
  assert.equal(faults(load('--user', 'nobody', '--group', 'nosuchgroup')), [
    '--group: there is no group "nosuchgroup" on this machine',
  ]);
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
  const result = checkConfig(loadConfig({ file: path('c.yaml') }), { ports: false });
  const places = result.map(({ line, column, length, code }) => `${line}:${column}+${length} ${code}`);
  assert.equal(places.slice(0, 2), ['5:17+8 ERR_CERTIFICATE_FILE', '5:32+8 ERR_CERTIFICATE_FILE']);
});

test('the summary says what would be served', () => {
  const config = load('--name', 'web', '--alpn', 'h2', '--proxy-protocol', 'v2');
  const result = examine(config, { ports: false });
  const [[report] = []] = result.certificates;
  const notAfter = report?.chain[0]?.notAfter ?? 0;
  const date = `${new Date(notAfter * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  assert.is(
    summary('x.yaml', config, result, notAfter - 10.5 * 86_400),
    `x.yaml: OK

  web: 127.0.0.1:65123 -> app:80
    TLS 1.2 and 1.3, ALPN h2, PROXY v2 to the backend
    certificate localhost, example.test (EC P-256), expires ${date}, in 10 days
`,
  );
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
