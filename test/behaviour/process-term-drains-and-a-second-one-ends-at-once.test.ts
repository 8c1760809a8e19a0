// SPDX-License-Identifier: MIT
// TERM and INT: nothing new is accepted, sessions may end by themselves until the limit. A second one does not wait.
// Not in the kernel lab: processes and signals are the same there, and what a timer ends has a test that runs there.

import { once } from 'node:events';
import * as net from 'node:net';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';

const echo = await startEcho();

async function serving(t: TestContext, drain: string): Promise<{ proxy: RunningProxy; client: RawTlsClient }> {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }], config: { timeouts: { drain } } });
  t.after(() => proxy.stop());
  const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
  client.sendData('hello');
  await client.readData(5);
  return { proxy, client };
}

async function isRefused(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1');
  return new Promise((resolve) => {
    socket
      .on('connect', () => resolve(false))
      .on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  }).then((refused) => {
    socket.destroy();
    return refused as boolean;
  });
}

/** Draining has begun and the worker has left its listeners. */
async function draining(proxy: RunningProxy): Promise<void> {
  await proxy.log.waitFor({ event: 'draining' });
  while (!(await isRefused(proxy.port)));
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal}: a session goes on while new connections are refused, and its end is the service's`, async (t) => {
    const { proxy, client } = await serving(t, '1h');
    const exited = once(proxy.child, 'exit');
    process.kill(proxy.keeperPid, signal);
    await draining(proxy);
    client.sendData('still served');
    assert.is((await client.readData(12)).toString(), 'still served');
    client.sendAlert(alert.closeNotify);
    await client.outcome();
    assert.equal(await exited, [0, null]);
    const line = await proxy.log.waitFor({ event: 'signal_received' });
    assert.is(line.signal_string, signal);
    assert.is(line.recvd_from, String(process.pid));
    assert.is((await proxy.log.waitFor({ event: 'stopped' })).sessions_total, '1');
  });
}

test('at the limit sessions are ended with an alert, and counted', async (t) => {
  const { proxy, client } = await serving(t, '300ms');
  const exited = once(proxy.child, 'exit');
  process.kill(proxy.keeperPid, 'SIGTERM');
  const { alerts } = await client.outcome();
  assert.equal(alerts, [alert.internalError]);
  assert.equal(await exited, [0, null]);
  const stopped = await proxy.log.waitFor({ event: 'stopped' });
  assert.is(stopped.sessions_cut, '1');
  assert.is(stopped.level, 'warn');
});

test('a second signal ends sessions at once', async (t) => {
  // Longer than the test may take.
  const { proxy, client } = await serving(t, '1h');
  const pids = descendants(proxy.keeperPid);
  const exited = once(proxy.child, 'exit');
  process.kill(proxy.keeperPid, 'SIGTERM');
  await draining(proxy);
  process.kill(proxy.keeperPid, 'SIGTERM');
  await client.outcome();
  assert.equal(await exited, [0, null]);
  assert.equal(await survivors(pids), []);
});

test('a second signal ends everything even when master and worker are stopped', async (t) => {
  const { proxy } = await serving(t, '1h');
  const exited = once(proxy.child, 'exit');
  for (const pid of [proxy.masterPid(), proxy.workerPid()]) process.kill(pid, 'SIGSTOP');
  process.kill(proxy.keeperPid, 'SIGTERM');
  process.kill(proxy.keeperPid, 'SIGINT');
  assert.equal(await exited, [0, null]);
});

test('a master that is killed while draining leaves the end to the next', async (t) => {
  const { proxy, client } = await serving(t, '1h');
  const exited = once(proxy.child, 'exit');
  process.kill(proxy.keeperPid, 'SIGTERM');
  await draining(proxy);
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'draining' }, { from });
  assert.ok(await isRefused(proxy.port));
  client.sendData('still served');
  await client.readData(12);
  client.sendAlert(alert.closeNotify);
  await client.outcome();
  assert.equal(await exited, [0, null]);
});

test('a worker that dies while draining is not replaced', async (t) => {
  const { proxy } = await serving(t, '1h');
  const exited = once(proxy.child, 'exit');
  process.kill(proxy.keeperPid, 'SIGTERM');
  await draining(proxy);
  process.kill(proxy.workerPid(), 'SIGKILL');
  assert.equal(await exited, [0, null]);
  assert.is(proxy.log.all({ worker_state: 'spawned' }).length, 1);
});

test('signals to master and worker themselves do nothing', async (t) => {
  const { proxy, client } = await serving(t, '1s');
  for (const pid of [proxy.masterPid(), proxy.workerPid()]) {
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const) process.kill(pid, signal);
  }
  process.kill(proxy.keeperPid, 'SIGUSR1');
  await proxy.log.waitFor({ event: 'signal_received', signal_string: 'SIGUSR1' });
  client.sendData('hello');
  assert.is((await client.readData(5)).toString(), 'hello');
  assert.is(proxy.log.all({ event: 'worker', worker_state: 'dead' }).length, 0);
  assert.is(proxy.log.all({ event: 'signal_received' }).length, 1);
});
