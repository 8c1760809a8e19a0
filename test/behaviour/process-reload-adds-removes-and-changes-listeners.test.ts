// SPDX-License-Identifier: MIT
// What a reload changes: listeners that come, go and lead elsewhere, limits, the log; and what a later master knows of it.
// Not in the kernel lab: it is about listeners, which no record engine has part in.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Backend, startBackend, startEcho } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { filesAgain, settledFiles } from '../helpers/processes.ts';
import { freePort, type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { change, edit, keeperIsDone } from '../helpers/reload.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';

const echo = await startEcho();
const [first, second] = [await startBackend(), await startBackend()];

async function serving(t: TestContext, backend: Backend = echo): Promise<RunningProxy> {
  const proxy = await startProxy({ listeners: [{ name: 'web', backend: backend.address }] });
  t.after(() => proxy.stop());
  return proxy;
}

async function echoes(options: { port: number } | { path: string }): Promise<void> {
  const { peer, socket } = await tlsConnect(options);
  socket.write('hello');
  assert.is((await peer.read(5)).toString(), 'hello');
  socket.destroy();
}

async function connectError(port: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  const outcome = await new Promise<string>((resolve) => {
    socket
      .on('connect', () => resolve('none'))
      .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  });
  socket.destroy();
  return outcome;
}

/** Number of the socket that listens on a port of 127.0.0.1. */
function inodeOf(port: number): string {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const rows = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((row) => row.trim().split(/\s+/));
  return rows.find((row) => row[1] === `0100007F:${hex}` && row[3] === '0A')?.[9] ?? 'none';
}

test('a listener comes and goes, and its sessions outlive it', async (t) => {
  const proxy = await serving(t);
  const port = await freePort();
  const inode = inodeOf(proxy.port);
  const added = await change(proxy, ({ listeners }) => {
    listeners.push({ name: 'more', listen: `127.0.0.1:${port}`, backend: echo.address, certificates: [ecdsa] });
  });
  assert.is(added.added, 'more');
  await echoes({ port });
  await echoes({ port: proxy.port });
  const session = await tlsConnect({ port });

  const removed = await change(proxy, ({ listeners }) => listeners.pop());
  assert.is(removed.removed, 'more');
  // The last of the worker's threads may still be about to close it.
  while ((await connectError(port)) !== 'ECONNREFUSED');
  session.socket.write('still here');
  assert.is((await session.peer.read(10)).toString(), 'still here');
  session.socket.destroy();
  assert.is(inodeOf(proxy.port), inode);
});

test('a changed backend is that of new sessions only', async (t) => {
  const proxy = await serving(t, first as Backend);
  const before = await tlsConnect({ port: proxy.port });
  const there = await (first as Backend).next();
  const line = await change(proxy, ({ listeners: [web] }) =>
    Object.assign(web as object, { backend: second?.address }),
  );
  assert.is(line.changed, 'web (backend)');
  const after = await tlsConnect({ port: proxy.port });
  const elsewhere = await (second as Backend).next();
  before.socket.write('old');
  after.socket.write('new');
  assert.is((await there.read(3)).toString(), 'old');
  assert.is((await elsewhere.read(3)).toString(), 'new');
  before.socket.destroy();
  after.socket.destroy();
});

test('the addresses of a listener may change one by one, sockets of files too', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'web.sock');
  const proxy = await serving(t);
  const tcp = `127.0.0.1:${proxy.port}`;
  await change(proxy, ({ listeners: [web] }) => Object.assign(web as object, { listen: [tcp, `unix:${path}`] }));
  await echoes({ path });
  await echoes({ port: proxy.port });
  await change(proxy, ({ listeners: [web] }) => Object.assign(web as object, { listen: tcp }));
  assert.not(existsSync(path));
  await echoes({ port: proxy.port });
});

test('a listener may take the address of another', async (t) => {
  const proxy = await serving(t);
  const inode = inodeOf(proxy.port);
  const line = await change(proxy, ({ listeners: [web] }) => Object.assign(web as object, { name: 'other' }));
  assert.equal([line.added, line.removed], ['other', 'web']);
  await echoes({ port: proxy.port });
  assert.is(inodeOf(proxy.port), inode);
});

test('limits and timeouts hold at once', async (t) => {
  const proxy = await serving(t);
  const { peer, socket } = await tlsConnect({ port: proxy.port });
  await change(proxy, (document) => Object.assign(document, { max_connections: 1 }));
  assert.is(
    await tlsConnect({ port: proxy.port }).then(
      () => 'served',
      () => 'refused',
    ),
    'refused',
  );
  socket.write('hello');
  await peer.read(5);
  socket.destroy();
  await change(proxy, (document) => Object.assign(document, { max_connections: 10, timeouts: { idle: '100ms' } }));
  const short = await tlsConnect({ port: proxy.port });
  assert.is(await short.peer.end, 'fin');
  short.socket.destroy();
});

test('the level and the file of the log follow', async (t) => {
  const proxy = await serving(t);
  const file = join(proxy.directory, 'new.log');
  const from = proxy.log.lines.length;
  await change(proxy, (document) => Object.assign(document, { log: { level: 'info' } }));
  await echoes({ port: proxy.port });
  edit(proxy, (document) => Object.assign(document, { log: { level: 'debug', file } }));
  process.kill(proxy.keeperPid, 'SIGHUP');
  while (!existsSync(file) || !/event=reload/.test(readFileSync(file, 'utf8'))) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(
    proxy.log.lines.slice(from).filter(({ subevent }) => subevent === 'client_connect'),
    [],
  );
  await echoes({ port: proxy.port });
  while (!/subevent=client_connect/.test(readFileSync(file, 'utf8'))) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

test('what only a start can change is said, and the rest is taken', async (t) => {
  const proxy = await serving(t);
  const line = await change(proxy, (document) => {
    Object.assign(document, { threads: { relay: 7 }, max_connections: 77 });
  });
  assert.equal([line.settings, line.later], ['max_connections', 'threads.relay']);
  const warning = await proxy.log.waitFor({ event: 'config_fault', level: 'warn' });
  assert.match(warning.place ?? '', /ironsocket\.yaml:\d+:\d+$/);
});

test('a later master and a later worker go on with the new configuration', async (t) => {
  const proxy = await serving(t);
  const port = await freePort();
  await change(proxy, ({ listeners }) => {
    listeners.push({ name: 'more', listen: `127.0.0.1:${port}`, backend: echo.address, certificates: [ecdsa] });
  });
  const session = await tlsConnect({ port });
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  await change(proxy, ({ listeners: [web] }) => Object.assign(web as object, { timeouts: { idle: '5m' } }));
  session.socket.write('hello');
  await session.peer.read(5);
  process.kill(proxy.workerPid(), 'SIGKILL');
  await echoes({ port });
  await echoes({ port: proxy.port });
});

test(
  'reloads leave no descriptor behind',
  async (t) => {
    const proxy = await serving(t);
    const port = await freePort();
    const turn = async (): Promise<void> => {
      await change(proxy, ({ listeners }) => {
        listeners.push({ listen: `127.0.0.1:${port}`, backend: echo.address, certificates: [ecdsa] });
      });
      await change(proxy, ({ listeners }) => listeners.pop());
      // The last of the worker's threads may still be about to close it.
      while (inodeOf(port) !== 'none') await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await turn();
    const pids = [proxy.keeperPid, proxy.masterPid(), proxy.workerPid()];
    await keeperIsDone(proxy);
    const before = await settledFiles(() => pids);
    for (let i = 0; i < 5; i++) await turn();
    await keeperIsDone(proxy);
    await filesAgain(() => pids, before);
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'only root sees the descriptors of other users' },
);

test(
  'a socket that is open can not change its v6_only',
  async (t) => {
    const port = await freePort('::1');
    const proxy = await startProxy({ listeners: [{ listen: `[::1]:${port}`, backend: echo.address }] });
    t.after(() => proxy.stop());
    const changed = change(proxy, ({ listeners: [web] }) => Object.assign(web as object, { v6_only: true }));
    assert.match(await changed.then(() => '', String), /refused/);
    const fault = await proxy.log.waitFor({ event: 'config_fault' });
    assert.match(fault.error_msg ?? '', /v6_only/);
  },
  { skip: hasIpv6() ? undefined : 'no IPv6' },
);

function hasIpv6(): boolean {
  return existsSync('/proc/net/if_inet6') && /^0{31}1 /m.test(readFileSync('/proc/net/if_inet6', 'latin1'));
}
