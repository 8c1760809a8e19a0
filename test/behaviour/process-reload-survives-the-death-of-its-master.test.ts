// SPDX-License-Identifier: MIT
// A master that is killed in the middle of a reload: the next one serves the old configuration or the new one, as a whole, and says which.
// Not in the kernel lab: the record engine has no part in it.
import * as net from 'node:net';
import * as assert from 'uvu/assert';
import type { Status } from '../../src/master/status.ts';
import { startEcho } from '../helpers/backends.ts';
import { ecdsa, rsa } from '../helpers/certificates.ts';
import { ironsocket } from '../helpers/commands.ts';
import { filesAgain, settledFiles } from '../helpers/processes.ts';
import { freePort, type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { change, configFile, edit, keeperIsDone } from '../helpers/reload.ts';
import { test } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';

const echo = await startEcho();
const rounds = 6;

async function statusOf(proxy: RunningProxy): Promise<Status> {
  const { stdout, stderr } = await ironsocket('status', '-c', configFile(proxy), '--json');
  assert.is(stderr, '');
  return JSON.parse(stdout) as Status;
}

async function isServed(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1');
  const served = await new Promise<boolean>((resolve) => {
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
  });
  socket.destroy();
  return served;
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('killed when the worker has the new configuration, but nobody has noted that: the old one comes back', async (t) => {
  const proxy = await startProxy({ listeners: [{ name: 'web', backend: echo.address }] });
  t.after(() => proxy.stop());
  const port = await freePort();
  edit(proxy, ({ listeners }) => {
    listeners.push({ name: 'more', listen: `127.0.0.1:${port}`, backend: echo.address, certificates: [ecdsa] });
  });
  process.kill(proxy.workerPid(), 'SIGSTOP');
  process.kill(proxy.keeperPid, 'SIGHUP');
  while (!(await isServed(port)));
  // The socket is there, so the plan is on its way within this moment.
  await wait(200);
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  process.kill(proxy.workerPid(), 'SIGCONT');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  while (await isServed(port));
  const { listeners, revision } = await statusOf(proxy);
  assert.equal([listeners.map(({ name }) => name), revision], [['web'], 1]);
  await change(proxy, (document) => Object.assign(document, { max_connections: 1_000 }));
  assert.ok(await isServed(port));
});

test(
  'killed at every moment of it',
  async (t) => {
    const proxy = await startProxy({ listeners: [{ name: 'web', backend: echo.address }] });
    t.after(() => proxy.stop());
    const session = await tlsConnect({ port: proxy.port });
    const port = await freePort();
    const toggle = (index: number) => (document: { listeners: Record<string, unknown>[] }) => {
      document.listeners.length = 1;
      const certificates = [index % 2 === 0 ? rsa : ecdsa];
      Object.assign(document.listeners[0] as object, { certificates });
      if (index % 2 === 0) {
        document.listeners.push({ name: 'more', listen: `127.0.0.1:${port}`, backend: echo.address, certificates });
      }
    };
    await change(proxy, toggle(0));
    await change(proxy, toggle(1));
    await keeperIsDone(proxy);
    const files = await settledFiles(() => [proxy.keeperPid]);
    for (let i = 0; i < rounds; i++) {
      edit(proxy, toggle(i));
      const from = proxy.log.lines.length;
      process.kill(proxy.keeperPid, 'SIGHUP');
      await proxy.log.waitFor({ event: 'signal_received' }, { from });
      await wait(i * 5);
      process.kill(proxy.masterPid(), 'SIGKILL');
      await proxy.log.waitFor({ event: 'ready' }, { from });
      const { listeners, worker } = await statusOf(proxy);
      assert.is(worker?.pid, proxy.workerPid());
      const known = listeners.some(({ name }) => name === 'more');
      // The worker may still be on its way back.
      while ((await isServed(port)) !== known);
      session.socket.write('hello');
      assert.is((await session.peer.read(5)).toString(), 'hello');
      // One that lives so long is replaced at once.
      await wait(1_000);
    }
    await change(proxy, (document) => {
      toggle(1)(document);
      document.max_connections = 1_000;
    });
    await keeperIsDone(proxy);
    await filesAgain(() => [proxy.keeperPid], files);
    assert.is(proxy.log.all({ event: 'worker', worker_state: 'dead' }).length, 0);
    session.socket.destroy();
  },
  { deadline: 60_000 },
);
