// SPDX-License-Identifier: MIT
// A worker that dies takes its sessions with it, but no connection after that is refused: the listening socket stays, and what
// comes meanwhile waits in its queue.
// Also with sanitizers: a worker starts beside what an earlier one has left.
// In the kernel lab on the newest alone: what a process leaves to TCP is the same with every kernel.
// In the kernel lab never one direction alone: each socket is reset as a whole.
import { execFileSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { engines } from '../helpers/engines.ts';
import { doubled } from '../helpers/processes.ts';
import { startProxy, versions } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { openSession, variantOf, withEngine } from '../helpers/variants.ts';

const echo = await startEcho();
const backend = await startBackend();

async function talk(port: number): Promise<RawTlsClient> {
  const client = await RawTlsClient.connect({ port, version: '1.3' });
  client.sendData('hello');
  assert.is((await client.readData(5)).toString(), 'hello');
  return client;
}

test('clients that connect while there is no worker are served by the next', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const first = await talk(proxy.port);
  const [master, worker] = [proxy.masterPid(), proxy.workerPid()];
  process.kill(worker, 'SIGKILL');
  const clients = await Promise.all(Array.from({ length: 20 }, () => talk(proxy.port)));
  // Without close_notify: what was cut must not look whole.
  assert.equal((await first.outcome()).alerts, []);

  const next = await proxy.log.waitFor({ event: 'worker', worker_state: 'spawned', worker_id: '2' });
  assert.is.not(next.worker_pid, String(worker));
  assert.is(proxy.masterPid(), master);
  const dead = await proxy.log.waitFor({ event: 'worker', worker_state: 'dead' });
  assert.is(dead.reason, 'SIGKILL');
  assert.is(dead.worker_pid, String(worker));
  assert.is(dead.worker_id, '1');
  assert.is(dead.sessions_lost, '1');
  for (const client of clients) client.peer.reset();
});

for (const [engine, version] of engines.flatMap((engine) => versions.map((version) => [engine, version] as const))) {
  test(`TLS ${version}, ${engine.label}: both sides of its sessions are reset, idle or in the middle of an answer`, async (t) => {
    const proxy = await startProxy(withEngine({ listeners: [{ backend: backend.address }] }, engine));
    t.after(() => proxy.stop());
    const open = () => openSession(variantOf(proxy, engine, version), backend);
    const [idle, cut] = [await open(), await open()];
    idle.client.sendData('x');
    await idle.server.read(1);
    cut.server.write(Buffer.alloc(32 << 20));
    await cut.client.read();
    // What it does not read stays on its way, at all four ends.
    cut.client.peer.socket.pause();
    process.kill(proxy.workerPid(), 'SIGKILL');
    assert.is(await idle.server.end, 'reset');
    assert.is(await cut.server.end, 'reset');
    assert.equal(await idle.client.outcome(), { data: '', alerts: [], end: 'reset' });
    cut.client.peer.socket.resume();
    const { alerts, end } = await cut.client.outcome();
    assert.equal({ alerts, end }, { alerts: [], end: 'reset' });
  });
}

test('one that crashes again and again is started with growing pauses', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const delays: number[] = [];
  // On a machine that stands still now and then one gets old before it is found, and all begins anew.
  while (!doubled(delays, 400)) {
    const from = proxy.log.lines.length;
    process.kill(proxy.workerPid(), 'SIGKILL');
    const dead = await proxy.log.waitFor({ event: 'worker', worker_state: 'dead' }, { from });
    delays.push(Number(dead.delay_ms));
    await proxy.log.waitFor({ event: 'worker', worker_state: 'spawned' }, { from });
    assert.ok(delays.length < 12, `delays ${delays}`);
  }
  await talk(proxy.port);
});

test(
  'a master at its file limit starts the next as soon as it can',
  async (t) => {
    const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
    t.after(() => proxy.stop());
    const limit = (soft: number) => execFileSync('prlimit', ['--pid', String(proxy.masterPid()), `--nofile=${soft}:`]);
    limit(10);
    process.kill(proxy.workerPid(), 'SIGKILL');
    const failed = await proxy.log.waitFor({ process_type: 'master', error_msg: "can't start a worker" });
    assert.match(failed.error_desc ?? '', /EMFILE/);
    const client = talk(proxy.port);
    limit(1_024);
    (await client).peer.reset();
    // No number comes twice, also not that of one that could not be started.
    const [, next] = proxy.log.all({ event: 'worker', worker_state: 'spawned' });
    assert.ok(Number(next?.worker_id) > 2);
  },
  { skip: process.geteuid?.() === 0 ? undefined : "only root may change another process's limits" },
);
