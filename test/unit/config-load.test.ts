// SPDX-License-Identifier: MIT
// What a file or flags become when nothing is wrong, and what is refused of flags.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { connectionsFor, fileLimit, filesFor } from '../../src/config/defaults.ts';
import { parseConfigArguments } from '../../src/config/flags.ts';
import { loadConfig, readConfig } from '../../src/config/load.ts';
import { renderFaults } from '../../src/config/render.ts';
import { ConfigError, UsageError } from '../../src/errors.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'ironsocket.yaml');

function load(text: string) {
  writeFileSync(file, text);
  return JSON.parse(JSON.stringify(loadConfig({ file })));
}

function flags(...args: string[]) {
  return JSON.parse(JSON.stringify(loadConfig(parseConfigArguments(args))));
}

function faults(...args: string[]): string {
  try {
    loadConfig(parseConfigArguments(args));
  } catch (error) {
    if (error instanceof ConfigError) return renderFaults(error.faults, { colour: false, width: 100 });
    throw error;
  }
  return '';
}

function usage(...args: string[]): string {
  try {
    parseConfigArguments(args);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return '';
}

const basics = ['--listen', '127.0.0.1:8443', '--backend', 'localhost:80', '--cert', 'a.pem', '--key', 'a.key'];

test('the least configuration gets every default', () => {
  const text =
    'listeners:\n  - listen: "*:443"\n    backend: app:80\n    certificates: [{ cert: a.pem, key: ../a.key }]\n';
  assert.equal(load(text), {
    file,
    demo: false,
    maxConnections: connectionsFor(fileLimit()),
    handshakeThreads: availableParallelism(),
    relayThreads: availableParallelism(),
    logLevel: 'info',
    logFile: 'stdout',
    drainMs: 30_000,
    tickets: true,
    listeners: [
      {
        name: '*:443',
        addresses: ['*:443'],
        v6Only: false,
        backend: 'app:80',
        certificates: [{ cert: join(directory, 'a.pem'), key: join(directory, '../a.key') }],
        proxyProtocol: 'none',
        onTruncation: 'fin',
        offload: 'auto',
        offloadAfter: 0,
        minVersion: '1.2',
        maxVersion: '1.3',
        ciphers: [],
        alpn: [],
        handshakeMs: 10_000,
        connectMs: 5_000,
        idleMs: 3_600_000,
        halfClosedMs: 60_000,
      },
    ],
    keyUpdateRecords: 0,
    kernelDirections: 'both',
  });
});

test('every key has its effect, and a listener overrides what is at the top', () => {
  const config = load(`
user: 1000
group: daemon
max_connections: 77
offload: userspace
offload_after: 64KiB
threads: { handshake: 3, relay: 5 }
log: { level: debug, file: logs/x.log }
timeouts: { handshake: 1s, connect: 2s, idle: 0, half_closed: 4s, drain: 0 }
tls: { min_version: 1.2, max_version: 1.2, ciphers: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256], alpn: [h2], tickets: false }
listeners:
  - listen: [127.0.0.1:1, "[::1]:1", unix:a.sock, "unix:@b", systemd:c]
    backend: unix:b.sock
    certificates: [{ cert: /a, key: /b }]
  - name: two
    listen: "[::]:2"
    v6_only: true
    backend: "[::1]:80"
    certificates: [{ cert: /a, key: /b }, { cert: /c, key: /d }]
    proxy_protocol: v2
    on_truncation: reset
    offload: auto
    offload_after: 0
    timeouts: { idle: 9s }
    tls: { max_version: "1.3", ciphers: [], alpn: [] }
`);
  const { listeners, ...top } = config;
  assert.equal(top, {
    file,
    demo: false,
    user: '1000',
    group: 'daemon',
    maxConnections: 77,
    handshakeThreads: 3,
    relayThreads: 5,
    logLevel: 'debug',
    logFile: join(directory, 'logs/x.log'),
    drainMs: 0,
    tickets: false,
    keyUpdateRecords: 0,
    kernelDirections: 'both',
  });
  const common = {
    proxyProtocol: 'none',
    onTruncation: 'fin',
    offload: 'userspace',
    minVersion: '1.2',
    handshakeMs: 1000,
    connectMs: 2000,
    halfClosedMs: 4000,
  };
  assert.equal(listeners[0], {
    ...common,
    name: '127.0.0.1:1',
    addresses: ['127.0.0.1:1', '[::1]:1', `unix:${directory}/a.sock`, 'unix:@b', 'systemd:c'],
    v6Only: false,
    backend: `unix:${directory}/b.sock`,
    certificates: [{ cert: '/a', key: '/b' }],
    maxVersion: '1.2',
    ciphers: ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'],
    alpn: ['h2'],
    idleMs: 0,
    offloadAfter: 65_536,
  });
  assert.equal(listeners[1], {
    ...common,
    name: 'two',
    addresses: ['[::]:2'],
    v6Only: true,
    backend: '[::1]:80',
    certificates: [
      { cert: '/a', key: '/b' },
      { cert: '/c', key: '/d' },
    ],
    proxyProtocol: 'v2',
    onTruncation: 'reset',
    offload: 'auto',
    offloadAfter: 0,
    maxVersion: '1.3',
    ciphers: [],
    alpn: [],
    idleMs: 9000,
  });
});

test('values that YAML takes for numbers keep their text', () => {
  const config = load(
    'listeners:\n  - { name: 007, listen: 127.0.0.1:1, backend: unix:1.10, certificates: [{ cert: 1.10, key: 0x10 }] }\n',
  );
  assert.is(config.listeners[0].name, '007');
  assert.equal(config.listeners[0].certificates, [{ cert: join(directory, '1.10'), key: join(directory, '0x10') }]);
});

test('a file is named as the operator named it, and its paths start where it is', () => {
  mkdirSync(join(directory, 'sub'), { recursive: true });
  writeFileSync(
    join(directory, 'sub/c.yaml'),
    'listeners:\n  - { listen: 127.0.0.1:1, backend: unix:x, certificates: [{ cert: a, key: b }] }\n',
  );
  const before = process.cwd();
  process.chdir(directory);
  try {
    const config = loadConfig({ file: 'sub/c.yaml' });
    assert.is(config.file, join(directory, 'sub/c.yaml'));
    assert.is(config.listeners[0]?.backend, `unix:${directory}/sub/x`);
    const { file, line, column } = readConfig({ file: 'sub/c.yaml' }).locate({
      code: 'X',
      path: ['listeners', 0, 'certificates', 0, 'key'],
      message: '',
    });
    assert.equal({ file, line, column }, { file: 'sub/c.yaml', line: 2, column: 76 });
  } finally {
    process.chdir(before);
  }
});

test('flags give the same as a file', () => {
  const config = flags(
    ...[
      '--listen',
      '127.0.0.1:1',
      '--listen',
      '[::1]:1',
      '--backend',
      'unix:b',
      '--cert',
      'a',
      '--key',
      'b',
      '--cert',
      'c',
      '--key',
      'd',
    ],
    ...[
      '--name',
      'n',
      '--proxy-protocol',
      'v1',
      '--alpn',
      'h2,http/1.1',
      '--min-version',
      '1.3',
      '--max-version',
      '1.3',
    ],
    ...[
      '--cipher',
      'TLS_AES_128_GCM_SHA256',
      '--cipher',
      'TLS_AES_128_CCM_SHA256',
      '--user',
      '7',
      '--group',
      '8',
      '--max-connections',
      '9',
    ],
    ...[
      '--handshake-threads',
      '1',
      '--relay-threads',
      '2',
      '--log-level',
      'warn',
      '--log-file',
      'l',
      '--handshake-timeout',
      '1s',
    ],
    ...['--connect-timeout', '2s', '--idle-timeout', '0', '--half-closed-timeout', '4s', '--drain-timeout', '5s'],
    ...['--offload', 'kernel', '--offload-after', '1MiB'],
  );
  const cwd = process.cwd();
  assert.equal(config, {
    demo: false,
    user: '7',
    group: '8',
    maxConnections: 9,
    handshakeThreads: 1,
    relayThreads: 2,
    logLevel: 'warn',
    logFile: join(cwd, 'l'),
    drainMs: 5000,
    tickets: true,
    listeners: [
      {
        name: 'n',
        addresses: ['127.0.0.1:1', '[::1]:1'],
        v6Only: false,
        backend: `unix:${cwd}/b`,
        certificates: [
          { cert: join(cwd, 'a'), key: join(cwd, 'b') },
          { cert: join(cwd, 'c'), key: join(cwd, 'd') },
        ],
        proxyProtocol: 'v1',
        onTruncation: 'fin',
        offload: 'kernel',
        offloadAfter: 1_048_576,
        minVersion: '1.3',
        maxVersion: '1.3',
        ciphers: ['TLS_AES_128_GCM_SHA256', 'TLS_AES_128_CCM_SHA256'],
        alpn: ['h2', 'http/1.1'],
        handshakeMs: 1000,
        connectMs: 2000,
        idleMs: 0,
        halfClosedMs: 4000,
      },
    ],
    keyUpdateRecords: 0,
    kernelDirections: 'both',
  });
});

test('the demo leaves its certificate and backend to the master', () => {
  const config = flags('--demo', '--log-level', 'debug');
  assert.is(config.demo, true);
  assert.is(config.logLevel, 'debug');
  const [{ name, addresses, backend, certificates }] = config.listeners;
  assert.equal(
    { name, addresses, backend, certificates },
    { name: 'demo', addresses: ['127.0.0.1:8443'], backend: '', certificates: [] },
  );
});

test('faults of flags name the flag', () => {
  assert.is(
    faults('--listen', ':443', '--key', 'x', '--idle-timeout', '5', '--max-connections', 'x'),
    [
      '--max-connections: "x" is not a whole number\n      help: write digits only\n',
      '--idle-timeout: "5" has no unit\n      help: write 5s for seconds, 5ms for milliseconds\n',
      '--listen: ":443" has no host\n      help: write "*:443" for all addresses, or 127.0.0.1:443\n',
      '--backend is missing\n      help: where the decrypted bytes go, for example 127.0.0.1:8080\n',
      '--cert is missing\n      help: --key and --cert go together\n',
    ].join('\n'),
  );
  assert.is(
    faults(...basics.slice(0, 4)),
    '--cert is missing\n      help: a list of certificates, each with "cert" and "key"\n',
  );
  assert.is(faults(...basics, '--cert', 'b'), '--key is missing\n      help: --cert and --key go together\n');
  assert.is(
    faults(...basics, '--min-version', '1.3', '--max-version', '1.2').split('\n')[0],
    '--min-version: min_version 1.3 is above max_version 1.2',
  );
  assert.is(
    faults(...basics, '--log-level', 'inof'),
    '--log-level: "inof" is not one of fatal, error, warn, info or debug\n      help: did you mean "info"?\n',
  );
  assert.is(faults(...basics, '--cipher', 'X').split('\n')[0], '--cipher: "X" is not a suite that ironsocket has');
  assert.match(
    faults('--listen', '*:80', '--backend', '127.0.0.1:80', '--cert', 'a', '--key', 'b'),
    /^--backend: the backend "127.0.0.1:80" is the listener itself/,
  );
});

test('a command line that makes no sense is a usage error', () => {
  assert.is(usage(), 'there is no configuration');
  assert.is(usage('--log-level', 'info'), 'there is no configuration');
  assert.is(usage('-c', 'x', '--demo'), '--demo needs no file: leave out -c');
  assert.is(usage('-c', 'x', '--log-level', 'info'), '--log-level can not be combined with -c');
  assert.is(usage('--demo', '--listen', '*:1'), '--listen can not be combined with --demo');
  assert.match(usage('--lisen', 'x'), /unknown option '--lisen'\n\(Did you mean --listen\?\)/);
  assert.match(usage('-c', 'x', '-c', 'y'), 'It is given twice.');
  assert.match(usage(...basics, 'extra'), 'too many arguments');
  assert.match(usage('--listen'), 'argument missing');
});

test('the file limit bounds the connections', () => {
  assert.is(connectionsFor(20_000), 9744);
  assert.is(filesFor(9744), 20_000);
  assert.is(connectionsFor(100), 1);
  assert.is(connectionsFor(Number.MAX_SAFE_INTEGER), 1_000_000);
});

/** Sets a variable of the environment for the length of `body`. */
function withVariable(name: string, text: string, body: () => void): void {
  const before = process.env[name];
  process.env[name] = text;
  try {
    body();
  } finally {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  }
}

test('only a whole number of records shortens the time to a key update, for tests', () => {
  for (const [text, records] of [
    ['10', 10],
    ['', 0],
    ['x', 0],
    ['-1', 0],
    ['1.5', 0],
  ] as const) {
    withVariable('IRONSOCKET_TEST_KEY_UPDATE_RECORDS', text, () => {
      assert.is(flags(...basics).keyUpdateRecords, records, text);
    });
  }
});

test('only tx or rx keeps the kernel from the other direction, for tests', () => {
  for (const [text, directions] of [
    ['tx', 'tx'],
    ['rx', 'rx'],
    ['', 'both'],
    ['none', 'both'],
  ] as const) {
    withVariable('IRONSOCKET_TEST_KERNEL_DIRECTIONS', text, () => {
      assert.is(flags(...basics).kernelDirections, directions, text);
    });
  }
});
