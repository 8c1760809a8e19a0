// SPDX-License-Identifier: MIT
// Every kind of fault in a file: its place, its text, and what is said to do.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { loadConfig } from '../../src/config/load.ts';
import { suiteNames } from '../../src/config/suites.ts';
import { ConfigError } from '../../src/errors.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'ironsocket.yaml');

/** `LINE:COLUMN KIND: message (hint)` of each fault. */
function faultsOf(text: string | Buffer): string[] {
  writeFileSync(file, text);
  try {
    loadConfig({ file });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.faults.map(({ line, column, code, message, hint }) => {
      const place = line === undefined ? '' : `${line}:${column} `;
      const text = `${place}${code.replace('ERR_CONFIG_', '')}: ${message}${hint === undefined ? '' : ` (${hint})`}`;
      return text.replaceAll(directory, 'DIRECTORY');
    });
  }
}

/** Nothing is wrong with these five lines. */
const listener = `listeners:
  - listen: 0.0.0.0:443
    backend: 127.0.0.1:8080
    certificates:
      - { cert: a.pem, key: a.key }
`;

type Case = readonly [name: string, text: string, faults: readonly string[]];
const cases: readonly Case[] = [
  [
    'empty',
    '',
    [
      '1:1 EMPTY: the configuration is empty (it needs at least "listeners:" with "listen", "backend" and "certificates")',
    ],
  ],
  [
    'comment',
    '# nothing\n',
    [
      '1:1 EMPTY: the configuration is empty (it needs at least "listeners:" with "listen", "backend" and "certificates")',
    ],
  ],
  [
    'null',
    '~\n',
    [
      '1:1 EMPTY: the configuration is empty (it needs at least "listeners:" with "listen", "backend" and "certificates")',
    ],
  ],
  ['text', 'hello\n', ['1:1 VALUE: "hello" is no group of keys (write KEY: VALUE lines, indented)']],
  ['list', '- a\n', ['1:1 VALUE: a list is no group of keys (write KEY: VALUE lines, indented)']],
  ['control', 'a: b\nc: \u0007\n', ['2:4 ENCODING: the control character 0x07 can not be in a configuration']],
  ['nul', 'a\0', ['1:2 ENCODING: the control character 0x00 can not be in a configuration']],
  ['tab', 'listeners:\n\t- listen: 1\n', ['2:1 SYNTAX: the line is indented by a tab (YAML takes spaces only)']],
  ['unclosed quote', 'user: "nobody\n', ['1:13 SYNTAX: a text in quotes is not closed (add the missing quote)']],
  ['unclosed bracket', 'tls: { alpn: [h2\n', ['1:16 SYNTAX: "[" is not closed (add the missing "]")']],
  ['unclosed brace', 'log: { level: info\nuser: x\n', ['2:1 SYNTAX: "{" is not closed (add the missing "}")']],
  [
    'two colons',
    'user: a: b\n',
    ['1:7 SYNTAX: there are two ":" in one line (put each KEY: VALUE on its own line, or the value in quotes)'],
  ],
  [
    'bad indent',
    'tls:\n   alpn: []\n  tickets: true\n',
    ['3:1 SYNTAX: the indentation does not fit (keys of the same level start at the same column)'],
  ],
  ['no colon', 'user: x\nlisteners\n', ['2:1 SYNTAX: there is no ":" after the key (write KEY: VALUE)']],
  ['v6', 'listeners:\n  - listen: [::]:443\n', ['2:17 SYNTAX: an IPv6 address must be in quotes (write "[::]:443")']],
  [
    'star',
    'listeners:\n  - listen: *:443\n',
    ['2:13 SYNTAX: "*:443" is an alias, which is not used here (if the text was meant: "*:443" in quotes)'],
  ],
  [
    'alias',
    'a: &x 1\nb: *x\n',
    ['2:4 SYNTAX: "*x" is an alias, which is not used here (if the text was meant: "*x" in quotes)'],
  ],
  [
    'merge',
    '<<: 1\n',
    [
      '1:1 UNKNOWN_KEY: unknown key "<<" (merging is not used here: write the keys out)',
      '1:1 MISSING_KEY: there are no listeners (add "listeners:" with "listen", "backend" and "certificates")',
    ],
  ],
  ['tag', 'user: !!str nobody\n', ['1:13 SYNTAX: tags are not used here (put the text in quotes)']],
  ['directive', '%YAML 1.1\n---\nuser: x\n', ['1:1 SYNTAX: directives are not used here (remove the line)']],
  ['docs', 'user: x\n---\nuser: y\n', ['2:1 SYNTAX: there is a second document in the file (remove the "---")']],
  ['at', 'user: @x\n', ['1:7 SYNTAX: a text can not start with "@" (put it in quotes)']],
  [
    'escape',
    'user: "\\q"\n',
    ['1:8 SYNTAX: there is no such escape (in double quotes write \\\\ for a backslash, or use single quotes)'],
  ],
  ['complex key', '? [a]\n: b\n', ['1:3 SYNTAX: a key must be a word']],
  [
    'dup',
    `${listener}user: a\nuser: b\n`,
    ['7:1 DUPLICATE_KEY: "user" is there twice (the first is in line 6: keep one of them)'],
  ],
  [
    'crlf dup',
    'listeners:\r\n  - listen: 0.0.0.0:443\r\n    backend: 127.0.0.1:8080\r\n    certificates:\r\n      - { cert: a.pem, key: a.key }\r\nuser: a\r\nuser: b\r\n',
    ['7:1 DUPLICATE_KEY: "user" is there twice (the first is in line 6: keep one of them)'],
  ],
  [
    'proto',
    `${listener}__proto__: {a: 1}\nconstructor: 1\n`,
    [
      '6:1 UNKNOWN_KEY: unknown key "__proto__" (known here: user, group, max_connections, threads, log, control, timeouts, offload, offload_after, tls, listeners)',
      '7:1 UNKNOWN_KEY: unknown key "constructor" (known here: user, group, max_connections, threads, log, control, timeouts, offload, offload_after, tls, listeners)',
    ],
  ],
  ['unknown', `${listener}usr: a\n`, ['6:1 UNKNOWN_KEY: unknown key "usr" (did you mean "user"?)']],
  ['unknown2', `${listener}tickets: true\n`, ['6:1 UNKNOWN_KEY: unknown key "tickets" ("tickets" belongs into "tls")']],
  [
    'unknown3',
    `${listener}frobnicate: true\n`,
    [
      '6:1 UNKNOWN_KEY: unknown key "frobnicate" (known here: user, group, max_connections, threads, log, control, timeouts, offload, offload_after, tls, listeners)',
    ],
  ],
  [
    'listener tickets',
    `${listener}    tls: { tickets: true }\n`,
    ['6:12 UNKNOWN_KEY: unknown key "tickets" ("tickets" belongs into "tls")'],
  ],
  [
    'bind',
    'listeners:\n  - bind: 0.0.0.0:443\n    target: 127.0.0.1:80\n    certificates: [{cert: a, key: b}]\n',
    [
      '2:5 UNKNOWN_KEY: unknown key "bind" (did you mean "listen"?)',
      '3:5 UNKNOWN_KEY: unknown key "target" (did you mean "backend"?)',
    ],
  ],
  [
    'nolisteners',
    'user: x\n',
    ['1:1 MISSING_KEY: there are no listeners (add "listeners:" with "listen", "backend" and "certificates")'],
  ],
  ['emptylisteners', 'listeners: []\n', ['1:12 EMPTY_LIST: the list "listeners" is empty']],
  ['null listeners', 'listeners:\n', ['1:1 NO_VALUE: "listeners" has no value (give it one, or remove the line)']],
  [
    'listeners map',
    'listeners:\n  listen: 1.2.3.4:5\n',
    ['1:1 VALUE: a group of keys is not a list (start each item with "- ", or write [A, B])'],
  ],
  ['listener text', 'listeners: [a]\n', ['1:13 VALUE: "a" is no group of keys (write KEY: VALUE lines, indented)']],
  [
    'missing all',
    'listeners:\n  - name: x\n',
    [
      '2:5 MISSING_KEY: "listen" is missing (where clients connect, for example 0.0.0.0:443)',
      '2:5 MISSING_KEY: "backend" is missing (where the decrypted bytes go, for example 127.0.0.1:8080)',
      '2:5 MISSING_KEY: "certificates" is missing (a list of certificates, each with "cert" and "key")',
    ],
  ],
  [
    'missing key',
    'listeners:\n  - listen: 0.0.0.0:443\n    backend: 127.0.0.1:8080\n    certificates:\n      - cert: a.pem\n',
    ['5:9 MISSING_KEY: "key" is missing ("cert" and "key" go together)'],
  ],
  [
    'missing cert',
    'listeners:\n  - listen: 0.0.0.0:443\n    backend: 127.0.0.1:8080\n    certificates:\n      - key: a.pem\n',
    ['5:9 MISSING_KEY: "cert" is missing ("key" and "cert" go together)'],
  ],
  ['noval', `${listener}user:\n`, ['6:1 NO_VALUE: "user" has no value (give it one, or remove the line)']],
  ['int', `${listener}max_connections: 1.5\n`, ['6:18 VALUE: "1.5" is not a whole number (write digits only)']],
  ['int2', `${listener}max_connections: many\n`, ['6:18 VALUE: "many" is not a whole number (write digits only)']],
  ['int3', `${listener}max_connections: 20000000\n`, ['6:18 VALUE: "20000000" is too large (at most 10000000)']],
  ['bool', `${listener}tls: { tickets: yes }\n`, ['6:17 VALUE: "yes" is neither true nor false (write true)']],
  ['bool2', `${listener}    v6_only: 3\n`, ['6:14 VALUE: "3" is neither true nor false (write true or false)']],
  [
    'enum',
    `${listener}log: { level: Info }\n`,
    ['6:15 VALUE: "Info" is not one of fatal, error, warn, info or debug (did you mean "info"?)'],
  ],
  [
    'enum2',
    `${listener}    on_truncation: drop\n`,
    ['6:20 VALUE: "drop" is not one of fin or reset (write fin or reset)'],
  ],
  [
    'enum3',
    `${listener}    proxy_protocol: v3\n`,
    ['6:21 VALUE: "v3" is not one of none, v1 or v2 (write none, v1 or v2)'],
  ],
  [
    'offload, by what others call it',
    `${listener}    offload: off\n`,
    ['6:14 VALUE: "off" is not one of auto, kernel or userspace (did you mean "userspace"?)'],
  ],
  ...(['false', 'no'] as const).map(
    (word): Case => [
      `offload: ${word}`,
      `${listener}offload: ${word}\n`,
      [`6:10 VALUE: "${word}" is not one of auto, kernel or userspace (did you mean "userspace"?)`],
    ],
  ),
  ...(['true', 'on', 'yes', 'ktls'] as const).map(
    (word): Case => [
      `offload: ${word}`,
      `${listener}offload: ${word}\n`,
      [`6:10 VALUE: "${word}" is not one of auto, kernel or userspace (did you mean "auto"?)`],
    ],
  ),
  [
    'version',
    `${listener}tls: { min_version: 1.1 }\n`,
    ['6:21 VALUE: "1.1" is not one of 1.2 or 1.3 (write 1.2 or 1.3)'],
  ],
  [
    'map for text',
    `${listener}user: { a: 1 }\n`,
    ['6:7 VALUE: a group of keys can not be here (write a name or a number)'],
  ],
  ['list for text', `${listener}log: { file: [a] }\n`, ['6:14 VALUE: a list can not be here (write a path)']],
  [
    'durations',
    `${listener}timeouts: { handshake: 0, connect: 5, idle: 1w, half_closed: 2000h, drain: [1s] }\n`,
    [
      '6:24 VALUE: this timeout can not be switched off (write how long to wait, for example 10s)',
      '6:36 VALUE: "5" has no unit (write 5s for seconds, 5ms for milliseconds)',
      '6:45 VALUE: "1w" is not a duration (write a number and ms, s, m, h or d: 500ms, 10s, 5m, 1h)',
      '6:62 VALUE: "2000h" is too long (at most 500h; 0 means never where that is allowed)',
      '6:76 VALUE: a list can not be here (write a duration such as 10s)',
    ],
  ],
  [
    'min>max',
    `${listener}tls: { min_version: "1.3", max_version: "1.2" }\n`,
    [
      '6:21 VERSIONS: min_version 1.3 is above max_version 1.2 (no client could connect: raise max_version or lower min_version)',
    ],
  ],
  [
    'min>max inherited',
    `${listener}    tls: { min_version: "1.3" }\ntls: { max_version: 1.2 }\n`,
    [
      '6:25 VERSIONS: min_version 1.3 is above max_version 1.2 (no client could connect: raise max_version or lower min_version)',
    ],
  ],
  ['ciphers12', `${listener}tls: { ciphers: [TLS_AES_128_GCM_SHA256] }\n`, []],
  ['ciphers13', `${listener}tls: { ciphers: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256] }\n`, []],
  [
    'ciphers only',
    `${listener}tls: { ciphers: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256], min_version: "1.3" }\n`,
    [
      '6:17 CIPHERS: no suite of the list is for TLS 1.3 (no client could connect: add suites of that version, or leave the list out)',
    ],
  ],
  [
    'ciphers inherited',
    listener +
      '    tls: { min_version: "1.3" }\ntls: { ciphers: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256], max_version: "1.2" }\n',
    [
      '6:25 VERSIONS: min_version 1.3 is above max_version 1.2 (no client could connect: raise max_version or lower min_version)',
    ],
  ],
  [
    'suite twice',
    listener +
      'tls: { max_version: "1.2", ciphers: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256] }\n',
    ['6:37 DUPLICATE: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" is in the list twice'],
  ],
  [
    'dup names',
    listener +
      '  - name: a\n    listen: 0.0.0.0:1\n    backend: 1.1.1.1:1\n    certificates: [{cert: a, key: a}]\n  - name: a\n    listen: 0.0.0.0:2\n    backend: 1.1.1.1:1\n    certificates: [{cert: a, key: a}]\n',
    ['10:11 DUPLICATE: another listener is called "a" (give each its own name)'],
  ],
  [
    'dup addr',
    listener +
      '  - listen: [0.0.0.0:443, "[::1]:5", "[0:0::1]:5", "*:5", unix:a, unix:./a]\n    backend: 1.1.1.1:1\n    certificates: [{cert: a, key: a}]\n',
    [
      '6:14 DUPLICATE: "0.0.0.0:443" is listened on twice (each address can belong to one listener only)',
      '6:38 DUPLICATE: "[0:0::1]:5" is already covered by "[::1]:5" (each address can belong to one listener only)',
      '6:52 DUPLICATE: "*:5" is already covered by "[::1]:5" (each address can belong to one listener only)',
      '6:67 DUPLICATE: "unix:DIRECTORY/a" is listened on twice (each address can belong to one listener only)',
    ],
  ],
  [
    'v6only ok',
    listener +
      '  - listen: "[::]:443"\n    v6_only: true\n    backend: 1.1.1.1:1\n    certificates: [{cert: a, key: a}]\n',
    [],
  ],
  [
    'loop',
    'listeners:\n  - listen: "*:8080"\n    backend: localhost:8080\n    certificates: [{cert: a, key: a}]\n  - { listen: 1.1.1.1:1, backend: 1.1.1.1:1, certificates: [{cert: a, key: a}] }\n  - { listen: unix:x, backend: "unix:./x", certificates: [{cert: a, key: a}] }\n  - { listen: "*:9000", backend: "10.0.0.1:9000", certificates: [{cert: a, key: a}] }\n',
    [
      '3:14 LOOP: the backend "localhost:8080" is the listener itself (name the address of the service behind it)',
      '5:35 LOOP: the backend "1.1.1.1:1" is the listener itself (name the address of the service behind it)',
      '6:32 LOOP: the backend "unix:DIRECTORY/x" is the listener itself (name the address of the service behind it)',
    ],
  ],
  [
    'names',
    `${listener}    name: "a b"\n`,
    ['6:11 VALUE: "a b" is not a name for a listener (use up to 64 letters, digits, ".", "-" and "_")'],
  ],
  [
    'user',
    `${listener}user: "-x"\ngroup: 4294967295\n`,
    ['6:7 VALUE: "-x" is not a name of a user or group', '7:8 VALUE: "4294967295" is not a number of a user or group'],
  ],
  ['group', `${listener}group: 1\n`, ['6:8 GROUP: there is a group, but no user (give "user" too, or neither)']],
  ['path', `${listener}log: { file: "" }\n`, ['6:14 VALUE: the path is empty']],
];

for (const [name, text, faults] of cases) test(`fault of a file: ${name}`, () => assert.equal(faultsOf(text), faults));

test('a file that is not UTF-8 is refused at its first bad byte', () => {
  assert.equal(faultsOf(Buffer.from('user: caf\xe9\n', 'latin1')), [
    '1:10 ENCODING: the byte 0xe9 is not UTF-8 (save the file as UTF-8)',
  ]);
  assert.equal(faultsOf(Buffer.from('a: \xc3', 'latin1')), [
    '1:4 ENCODING: the byte 0xc3 is not UTF-8 (save the file as UTF-8)',
  ]);
  assert.equal(faultsOf(Buffer.from('\ufeffa: b\n', 'utf16le')), [
    '1:1 ENCODING: the file is UTF-16 (save it as UTF-8)',
  ]);
  assert.equal(faultsOf(`\ufeff${listener}`), [
    '1:1 ENCODING: the file starts with a byte order mark (save it as UTF-8 without BOM)',
  ]);
  assert.equal(faultsOf('a: b\nc: \x07\n'), ['2:4 ENCODING: the control character 0x07 can not be in a configuration']);
  assert.equal(faultsOf(`${listener}user: "😀é"\nx: \x1b\n`), [
    '7:4 ENCODING: the control character 0x1b can not be in a configuration',
  ]);
});

test('the excerpt of a fault in the first line is that line, even if it is empty', () => {
  writeFileSync(file, '\n  ');
  assert.throws(
    () => loadConfig({ file }),
    (error: ConfigError) => error.faults.length === 1 && error.faults[0]?.line === 1 && error.faults[0].text === '',
  );
});

test('a file that is nested too deeply is refused', () => {
  assert.equal(faultsOf(`${'['.repeat(50)}${']'.repeat(50)}`), ['1:34 SYNTAX: the file is nested too deeply']);
  const [fault, ...others] = faultsOf('['.repeat(100_000));
  assert.match(fault ?? '', /SYNTAX: the file is nested too deeply$/);
  assert.equal(others, []);
});

test('what is no file, or no file of ours, is refused', () => {
  const faultOf = (path: string) => {
    try {
      loadConfig({ file: path });
    } catch (error) {
      return (error as ConfigError).faults.map(({ message }) => message);
    }
    return [];
  };
  assert.equal(faultOf(directory), ['is a directory, not a file']);
  assert.equal(faultOf(join(directory, 'none.yaml')), ['there is no such file']);
  assert.equal(faultOf('/dev/null'), ['is no regular file']);
  writeFileSync(join(directory, 'large.yaml'), Buffer.alloc((1 << 20) + 1, '#'));
  assert.equal(faultOf(join(directory, 'large.yaml')), ['is larger than 1 MiB']);
});

test('unknown suites are refused by name, with the list or the likely one', () => {
  const text = `${listener}tls: { ciphers: [TLS_AES_128_GCM_SHA265, AES128-SHA, ECDHE-RSA-AES128-GCM-SHA256], max_version: "1.2" }\n`;
  assert.equal(faultsOf(text), [
    '6:18 VALUE: "TLS_AES_128_GCM_SHA265" is not a suite that ironsocket has (did you mean TLS_AES_128_GCM_SHA256?)',
    `6:42 VALUE: "AES128-SHA" is not a suite that ironsocket has (one of ${suiteNames.join(' ')})`,
    '6:54 VALUE: "ECDHE-RSA-AES128-GCM-SHA256" is not a suite that ironsocket has (did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?)',
  ]);
});

test('protocol names have to fit into ALPN', () => {
  assert.equal(faultsOf(`${listener}tls: { alpn: [h2, h2, "", ${'x'.repeat(256)}] }\n`), [
    '6:14 DUPLICATE: "h2" is in the list twice',
    '6:23 VALUE: a protocol name can not be empty (for example h2 or http/1.1)',
    '6:27 VALUE: the protocol name has 256 bytes, TLS takes 255 (for example h2 or http/1.1)',
  ]);
  assert.equal(faultsOf(`${listener}tls: { alpn: [${'é'.repeat(127)}] }\n`), []);
  const many = Array.from({ length: 260 }, (_, index) => `${index}`.padStart(255, 'x'));
  assert.equal(faultsOf(`${listener}tls: { alpn: [${many.join(', ')}] }\n`), [
    '6:14 ALPN: the protocol names have 66560 bytes, TLS takes 65535',
  ]);
});

test('all faults of a file come at once, in its order', () => {
  const text = `usr: nobody
tls: { min_version: "1.3", max_version: "1.2" }
listeners:
  - { name: a, listen: "*:1", backend: 1.2.3.4:0, certificates: [{ cert: a, key: a }] }
  - { name: a, listen: "[::]:1", backnd: x:1, certificates: [] }
user: a
user: b
`;
  assert.equal(
    faultsOf(text).map((fault) => fault.split(':', 3).slice(0, 2).join(':')),
    [
      '1:1 UNKNOWN_KEY',
      '2:21 VERSIONS',
      '4:40 VALUE',
      '5:13 DUPLICATE',
      '5:24 DUPLICATE',
      '5:34 UNKNOWN_KEY',
      '5:61 EMPTY_LIST',
      '7:1 DUPLICATE_KEY',
    ],
  );
});
