// SPDX-License-Identifier: MIT
// Nothing changes unless everything can: whatever is wrong is told with its place, in the log and to who asked.
// Not in the kernel lab: the record engine has no part in it.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { ecdsa, expired, strangeKey } from '../helpers/certificates.ts';
import { ironsocket } from '../helpers/commands.ts';
import { userOf } from '../helpers/processes.ts';
import { freePort, type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { change, configFile, edit, reload } from '../helpers/reload.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';

const echo = await startEcho();

async function serving(t: TestContext): Promise<RunningProxy> {
  const proxy = await startProxy({ listeners: [{ name: 'web', backend: echo.address }] });
  t.after(() => proxy.stop());
  return proxy;
}

async function echoes(port: number): Promise<void> {
  const { peer, socket } = await tlsConnect({ port });
  socket.write('hello');
  assert.is((await peer.read(5)).toString(), 'hello');
  socket.destroy();
}

test('faults of the text are told by the command as check tells them, and in the log by line and column', async (t) => {
  const proxy = await serving(t);
  const session = await tlsConnect({ port: proxy.port });
  const good = readFileSync(configFile(proxy), 'utf8');
  writeFileSync(configFile(proxy), good.replace('"backend"', '"backnd"').replace('"1s"', '"1 second"'));
  const checked = await ironsocket('check', '-c', configFile(proxy));
  const told = await ironsocket('reload', '-c', configFile(proxy));
  assert.equal([told.code, told.stdout], [78, '']);
  // That its own address is in use is of interest only to who would start a second one.
  assert.equal(told.stderr.split('\n\n'), [
    ...checked.stderr.split('\n\n').filter((text) => !/warning/.test(text)),
    '2 faults\n',
  ]);
  const place = /ironsocket\.yaml:(\d+):(\d+): .*backnd/.exec(told.stderr);
  const fault = await proxy.log.waitFor({ event: 'config_fault', error_msg: /backnd/ });
  assert.is(fault.place, `${configFile(proxy)}:${place?.[1]}:${place?.[2]}`);
  assert.is(fault.level, 'error');
  const line = await proxy.log.waitFor({ event: 'reload' });
  assert.equal([line.outcome, line.trigger], ['refused', 'command']);

  session.socket.write('hello');
  await session.peer.read(5);
  await echoes(proxy.port);
  writeFileSync(configFile(proxy), good);
  assert.is((await reload(proxy)).outcome, 'unchanged');
});

test('a file that is gone, empty or no YAML', async (t) => {
  const proxy = await serving(t);
  for (const text of ['', 'listeners: [', '\0']) {
    writeFileSync(configFile(proxy), text);
    assert.is((await reload(proxy)).outcome, 'refused');
    await echoes(proxy.port);
  }
});

const faults: readonly (readonly [string, (listener: Record<string, unknown>) => unknown, RegExp])[] = [
  [
    'a key that does not match',
    (web) => Object.assign(web, { certificates: [{ cert: ecdsa.cert, key: strangeKey }] }),
    /does not match/,
  ],
  ['an expired certificate', (web) => Object.assign(web, { certificates: [expired] }), /expired/],
  [
    'a missing certificate',
    (web) => Object.assign(web, { certificates: [{ ...ecdsa, cert: '/none' }] }),
    /no file \/none/,
  ],
  ['a suite that there is not', (web) => Object.assign(web, { tls: { ciphers: ['NONE'] } }), /not a suite/],
  [
    'an address of another machine',
    (web) => Object.assign(web, { listen: '192.0.2.1:8443' }),
    /not an address of this/,
  ],
];
for (const [name, spoil, message] of faults) {
  test(`${name}: the old configuration stays as a whole`, async (t) => {
    const proxy = await serving(t);
    edit(proxy, (document) => {
      document.max_connections = 1;
      spoil(document.listeners[0] as Record<string, unknown>);
    });
    assert.is((await reload(proxy)).outcome, 'refused');
    const fault = await proxy.log.waitFor({ event: 'config_fault' });
    assert.match(fault.error_msg ?? '', message);
    assert.match(fault.place ?? '', /ironsocket\.yaml:\d+:\d+$/);
    const clients = [await tlsConnect({ port: proxy.port }), await tlsConnect({ port: proxy.port })];
    for (const { socket } of clients) socket.destroy();
  });
}

/** How many files a process may have open. Gives what sets it as it was. */
function limitFiles(pid: number, files: number): () => void {
  const [, before] = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? [];
  const set = (limit: unknown) => execFileSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:`], userOf(pid));
  set(files);
  return () => void set(before);
}

test('more listeners than the worker may have files open: no session ends, and later they come', async (t) => {
  const proxy = await serving(t);
  const session = await tlsConnect({ port: proxy.port });
  const worker = proxy.workerPid();
  const port = await freePort();
  edit(proxy, ({ listeners }) => {
    for (let host = 2; host < 12; host++)
      listeners.push({ ...listeners[0], name: `of-${host}`, listen: `127.0.0.${host}:${port}` });
  });
  const highest = Math.max(...readdirSync(`/proc/${worker}/fd`).map(Number));
  const restore = limitFiles(worker, highest + 1);
  const { outcome, error_msg } = await reload(proxy);
  assert.equal([outcome, error_msg], ['refused', 'the worker can not read the new configuration']);
  const line = await proxy.log.waitFor({ event: 'system_error', pid: String(worker) });
  assert.match(line.error_desc ?? '', /too few files may be open here: raise the limit/);
  session.socket.write('hello');
  assert.is((await session.peer.read(5)).toString(), 'hello');
  assert.is(proxy.workerPid(), worker);
  restore();
  assert.is((await reload(proxy)).outcome, 'changed');
  await echoes(proxy.port);
});

test('an address that another process has, beside one that could be had', async (t) => {
  const proxy = await serving(t);
  const server = net.createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const taken = (server.address() as net.AddressInfo).port;
  const free = await freePort();
  edit(proxy, ({ listeners }) => {
    const more = { backend: echo.address, certificates: [ecdsa] };
    listeners.push({ ...more, listen: `127.0.0.1:${free}` }, { ...more, listen: `127.0.0.1:${taken}` });
  });
  const { code, stderr } = await ironsocket('reload', '-c', configFile(proxy));
  assert.is(code, 78);
  assert.match(stderr, new RegExp(`ironsocket\\.yaml:\\d+:\\d+: 127\\.0\\.0\\.1:${taken} is in use by`));
  await assertRefused(free);
  await echoes(proxy.port);
});

async function assertRefused(port: number): Promise<void> {
  const socket = net.connect(port, '127.0.0.1');
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  assert.is(error.code, 'ECONNREFUSED');
}

/** Whether a process has something to read in one of its sockets of AF_UNIX. */
function isTold(pid: number): boolean {
  const rows = execFileSync('ss', ['--unix', '--processes', '--numeric', '--no-header'], { encoding: 'utf8' });
  return rows.split('\n').some((row) => row.includes(`pid=${pid},`) && row.split(/\s+/)[2] !== '0');
}

test('a worker that dies over a reload leaves the old configuration, and the next reload works', async (t) => {
  const proxy = await serving(t);
  edit(proxy, (document) => Object.assign(document, { max_connections: 10 }));
  process.kill(proxy.workerPid(), 'SIGSTOP');
  const refused = reload(proxy);
  // The plan waits to be read.
  while (!isTold(proxy.workerPid())) await new Promise((resolve) => setTimeout(resolve, 10));
  process.kill(proxy.workerPid(), 'SIGKILL');
  const line = await refused;
  assert.equal([line.outcome, line.error_msg], ['refused', 'the worker died over the new configuration']);
  await echoes(proxy.port);
  await change(proxy, () => {});
});

test('while the service stops there is no reload', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }], config: { timeouts: { drain: '1m' } } });
  t.after(() => proxy.stop());
  const session = await tlsConnect({ port: proxy.port });
  process.kill(proxy.keeperPid, 'SIGTERM');
  await proxy.log.waitFor({ event: 'draining' });
  const { code, stderr } = await ironsocket('reload', '-c', configFile(proxy));
  assert.is(code, 75);
  assert.match(stderr, /the service is stopping/);
  session.socket.end();
  await session.peer.end;
});

test('several at once are taken one after the other', async (t) => {
  const proxy = await serving(t);
  edit(proxy, (document) => Object.assign(document, { max_connections: 10 }));
  const all = await Promise.all([1, 2, 3].map(() => ironsocket('reload', '-c', configFile(proxy))));
  assert.equal(
    all.map(({ code }) => code),
    [0, 0, 0],
  );
  assert.is(all.filter(({ stdout }) => /changed: max_connections/.test(stdout)).length, 1);
});
