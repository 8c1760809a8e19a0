// SPDX-License-Identifier: MIT
// curl, openssl s_client and gnutls-cli as users run them.
// In the kernel lab never one direction alone: the test of the suites has every combination.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { startProgram } from '../helpers/programs.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { proxies } from '../helpers/variants.ts';

const body = new KnownStream(9).next(5_000_000);
const web = http.createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => response.end(request.method === 'POST' ? Buffer.concat(parts) : body));
});
await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
afterAll(() => web.close());
const echo = await startEcho();
const large = await startBackend({ onConnection: (peer) => peer.finish(Buffer.alloc(100_000, 'x')) });
const listeners = [
  { name: 'web', backend: `127.0.0.1:${(web.address() as AddressInfo).port}` },
  { name: 'echo', backend: echo.address },
  { name: 'large', backend: large.address },
];
const directory = mkdtempSync(join(tmpdir(), 'ironsocket-clients-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a program with text on its stdin, which stays open; what it has said once that contains `until`. */
async function talk(program: string, args: readonly string[], input: string, until: string): Promise<string> {
  const { child, say, hear, output } = startProgram(program, args);
  try {
    say(input);
    await hear(until);
    return output();
  } finally {
    child.kill('SIGKILL');
  }
}

async function curl(port: number, ...args: string[]): Promise<Buffer> {
  const common = ['--silent', '--show-error', '--fail', '--max-time', String(15 * timeFactor), '--cacert', ecdsa.cert];
  const all = [...common, ...args, `https://localhost:${port}/`];
  return (await promisify(execFile)('curl', all, { maxBuffer: 1 << 24, encoding: 'buffer' })).stdout;
}

for (const { engine, proxy } of await proxies({ listeners })) {
  const [webPort = 0, echoPort = 0, largePort = 0] = proxy.ports;

  for (const version of ['1.2', '1.3']) {
    const exactly = [`--tlsv${version}`, '--tls-max', version];
    test(`${engine.label}: curl, TLS ${version}: a download`, async () => {
      assert.ok((await curl(webPort, ...exactly)).equals(body));
    });
    test(`${engine.label}: curl, TLS ${version}: an upload comes back`, async () => {
      const file = join(directory, 'upload');
      writeFileSync(file, body);
      assert.ok((await curl(webPort, ...exactly, '--data-binary', `@${file}`)).equals(readFileSync(file)));
    });

    const flag = version === '1.3' ? '-tls1_3' : '-tls1_2';
    test(`${engine.label}: openssl s_client, TLS ${version}: an echo`, async () => {
      const args = [
        's_client',
        '-connect',
        `127.0.0.1:${echoPort}`,
        flag,
        '-CAfile',
        ecdsa.cert,
        '-servername',
        'localhost',
      ];
      const output = await talk('openssl', args, 'hello there\n', '\nhello there');
      assert.match(output, 'Verify return code: 0 (ok)');
    });

    test(`${engine.label}: openssl s_client, TLS ${version}: max_fragment_length bounds our records`, async () => {
      const args = ['s_client', '-connect', `127.0.0.1:${largePort}`, flag, '-maxfraglen', '512', '-msg', '-ign_eof'];
      const running = promisify(execFile)('openssl', args, { maxBuffer: 1 << 26, timeout: 15_000 * timeFactor });
      running.child.stdin?.end();
      const output = (await running).stdout;
      const headers = [
        ...output.matchAll(/<<< \S+(?: \S+)?, RecordHeader \[length 0005\]\n\s+17 03 03 (\S\S) (\S\S)/g),
      ];
      const lengths = headers.map(([, high = '', low = '']) => Number.parseInt(high + low, 16));
      assert.ok(lengths.length > 100_000 / 512, `${lengths.length} records`);
      assert.ok(Math.max(...lengths.slice(10)) <= 512 + 1 + 16 + 8, `${Math.max(...lengths)} bytes`);
    });

    test(`${engine.label}: gnutls-cli, TLS ${version}: an echo`, async () => {
      const priority = `NORMAL:-VERS-ALL:+VERS-TLS${version}`;
      const args = ['--insecure', '--priority', priority, '--port', String(echoPort), '127.0.0.1'];
      const output = await talk('gnutls-cli', args, 'hello there\n', '\nhello there');
      assert.match(output, `TLS${version}`);
    });
  }

  test(`${engine.label}: openssl s_client: a ticket allows no early data`, async () => {
    // s_client writes what it knows of tickets when it ends.
    const args = ['s_client', '-connect', `127.0.0.1:${largePort}`, '-tls1_3', '-ign_eof'];
    const running = promisify(execFile)('openssl', args, { maxBuffer: 1 << 26, timeout: 15_000 * timeFactor });
    running.child.stdin?.end();
    const { stdout } = await running;
    assert.match(stdout, 'New Session Ticket arrived');
    assert.match(stdout, 'Max Early Data: 0');
  });
}
