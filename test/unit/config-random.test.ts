// SPDX-License-Identifier: MIT
// Whatever is in the file, the loader either takes it or tells faults with places that are in it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examine } from '../../src/config/check.ts';
import { loadConfig, readConfig } from '../../src/config/load.ts';
import { renderFaults } from '../../src/config/render.ts';
import { ConfigError } from '../../src/errors.ts';
import { kernelWithoutChacha } from '../helpers/kernel-reports.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'ironsocket.yaml');

const seed = Number(process.env.IRONSOCKET_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** mulberry32: small, and good enough to vary texts. */
function generator(start: number): (limit: number) => number {
  let state = start;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

const valid = `# comment
user: nobody
max_connections: 9000
threads: { handshake: 2, relay: 2 }
log: { level: info, file: stdout }
timeouts:
  handshake: 10s
  idle: 0
  drain: 30s
tls:
  min_version: "1.2"
  ciphers: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
  alpn: [h2, 'http/1.1']
offload: auto
offload_after: 64KiB
listeners:
  - name: web
    listen: ["*:8443", "unix:x"]
    backend: 127.0.0.1:8080
    certificates:
      - { cert: fullchain.pem, key: privkey.pem }
    timeouts: { connect: 1s }
  - { listen: "[::1]:9", backend: "unix:y", certificates: [{ cert: a, key: b }], tls: { max_version: 1.3 }, offload: kernel }
`;

const pieces = [
  '\n',
  ' ',
  '  ',
  '\t',
  ': ',
  '- ',
  '"',
  "'",
  '[',
  ']',
  '{',
  '}',
  '*a',
  '&a ',
  '!!x ',
  '| \n',
  '> \n',
  '#',
  '%',
  '---\n',
  '? ',
  '<<: ',
  ', ',
  '~',
  '0',
  '-1',
  '1e999',
  '.nan',
  'true',
  'null',
  '__proto__: ',
  '\r\n',
  '\u2028',
  '\ud83d\ude00',
  '\x00',
  'listeners: ',
  'listen: ',
  '[::]:1',
  'unix:',
  '65536',
  '99999999999999999999',
  'é',
];

/** Throws when the loader does anything but load or tell faults that make sense. */
function judge(bytes: Buffer): void {
  writeFileSync(file, bytes);
  try {
    loadConfig({ file });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    examineRest(error);
    if (error.faults.length === 0) throw new Error('no fault is told');
    const lines = bytes.toString('utf8').split('\n');
    for (const { line = 0, column = 0, text, message } of error.faults) {
      const there = lines[line - 1]?.replace(/\r$/, '');
      const fits = there !== undefined && text === there && column >= 1 && column <= there.length + 1;
      if (!fits && !/UTF|byte/.test(message)) throw new Error(`${message} is not at ${line}:${column}`);
    }
    renderFaults(error.faults, { colour: true, width: 80 });
  }
}

/** The machine is looked at for what is left of the file, which drops no fault of it. */
function examineRest({ faults }: ConfigError): void {
  if (faults.some(({ code }) => /SYNTAX|EMPTY$|ENCODING/.test(code))) return;
  const examined = examine(readConfig({ file }), { ports: false, starting: false, kernel: kernelWithoutChacha });
  for (const fault of faults) {
    if (!examined.faults.some(({ line, message }) => line === fault.line && message === fault.message))
      throw new Error(`${fault.message} is lost`);
  }
}

function run(name: string, rounds: number, make: (random: (limit: number) => number) => Buffer): void {
  const body = () => {
    for (let round = 0; round < rounds; round++) {
      const bytes = make(generator(seed + round));
      try {
        judge(bytes);
      } catch (error) {
        const text = JSON.stringify(bytes.toString('latin1'));
        throw new Error(`IRONSOCKET_TEST_SEED=${seed + round}: ${(error as Error).message}: ${text}`, { cause: error });
      }
    }
  };
  // on a busy machine a few hundred small files take their time
  test(name, body, { deadline: 120_000 });
}

const tokens = valid.match(/\s+|[\w./]+|./g) ?? [];

run('a file with random changes', 600, (random) => {
  const changed = [...tokens];
  for (let change = random(6) + 1; change > 0; change--) {
    const at = random(changed.length);
    const piece = random(3) === 0 ? (tokens[random(tokens.length)] ?? '') : (pieces[random(pieces.length)] ?? '');
    changed.splice(at, random(4), ...(random(3) === 0 ? [] : [piece]));
  }
  return Buffer.from(changed.join(''));
});

run('a file of random pieces', 600, (random) => {
  const count = random(40);
  return Buffer.from(Array.from({ length: count }, () => pieces[random(pieces.length)]).join(''));
});

run('a file of random bytes', 300, (random) => Buffer.from(Array.from({ length: random(60) }, () => random(256))));

run('a file with one byte changed', 300, (random) => {
  const bytes = Buffer.from(valid);
  bytes[random(bytes.length)] = random(256);
  return bytes;
});
