// SPDX-License-Identifier: MIT
// `offload: auto`, the default: per version and direction, and every session says in the log who carried it and why.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { native } from '../../src/native.ts';
import { startBackend } from '../helpers/backends.ts';
import type { LogLine } from '../helpers/log-lines.ts';
import { startProxy, versions } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { alert, type TlsVersion } from '../helpers/tls-records.ts';

const kernel = native.probeKernel();
const directory = mkdtempSync(join(tmpdir(), 'ironsocket-auto-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const socket = join(directory, 'listener');
const answer = Buffer.alloc(20_000, 'x');
const backend = await startBackend({ onConnection: (peer) => peer.finish(answer) });
const proxy = await startProxy({
  listeners: [
    { name: 'tcp', backend: backend.address },
    { name: 'unix', backend: backend.address, listen: `unix:${socket}` },
  ],
});
afterAll(() => proxy.stop());

/** Engines and reasons as `auto` must choose them over TCP. */
function expected(version: TlsVersion): Partial<Record<string, string>> {
  const userspace = { engine_tx: 'userspace', engine_rx: 'userspace' };
  if (kernel.ulp !== 'ok') return { ...userspace, engine_reason: 'the kernel has no TLS' };
  if (version === '1.3' && !kernel.rekey) return { ...userspace, engine_reason: "the kernel can't rekey TLS 1.3" };
  return { engine_tx: 'kernel', engine_rx: 'kernel' };
}

function enginesOf(line: LogLine): Partial<Record<string, string>> {
  return Object.fromEntries(Object.entries(line).filter(([key]) => key.startsWith('engine_')));
}

async function session(version: TlsVersion, where: { readonly port?: number; readonly path?: string }): Promise<void> {
  const client = await RawTlsClient.connect({ version, ...where });
  assert.is((await client.outcome()).data, answer.toString());
  // Now, because glued to Finished it would leave nothing for the kernel to read.
  client.sendAlert(alert.closeNotify);
  client.peer.finish();
}

for (const version of versions) {
  const name = `TLS${version === '1.3' ? 'v1.3' : 'v1.2'}`;

  test(`TLS ${version}: over TCP`, async () => {
    const from = proxy.log.lines.length;
    await session(version, { port: proxy.port });
    const line = await proxy.log.waitFor({ subevent: 'client_disconnect', listener: 'tcp' }, { from });
    assert.equal(enginesOf(line), expected(version), name);
  });

  test(`TLS ${version}: over a unix socket`, async () => {
    const from = proxy.log.lines.length;
    await session(version, { path: socket });
    const line = await proxy.log.waitFor({ subevent: 'client_disconnect', listener: 'unix' }, { from });
    const reason = "the client's socket is not TCP";
    assert.equal(enginesOf(line), { engine_tx: 'userspace', engine_rx: 'userspace', engine_reason: reason });
  });

  test(`TLS ${version}: a client that asked for short records`, async () => {
    const from = proxy.log.lines.length;
    const flag = version === '1.3' ? '-tls1_3' : '-tls1_2';
    const args = ['s_client', '-connect', `127.0.0.1:${proxy.port}`, flag, '-maxfraglen', '1024', '-quiet'];
    const running = promisify(execFile)('openssl', args, { maxBuffer: 1 << 20, timeout: 10_000 * timeFactor });
    const { stdout } = await running;
    assert.is(stdout, answer.toString());
    const line = await proxy.log.waitFor({ subevent: 'client_disconnect', listener: 'tcp' }, { from });
    const usual = expected(version);
    const short = { ...usual, engine_tx: 'userspace', engine_reason: 'the client asked for short records' };
    assert.equal(enginesOf(line), usual.engine_tx === 'kernel' ? short : usual);
  });
}
