// SPDX-License-Identifier: MIT
// `ironsocket status`, and who may ask.
// Not in the kernel lab: what it says of engines is seen with the userspace engine as well.
import { once } from 'node:events';
import { chmodSync, existsSync, statSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Status } from '../../src/master/status.ts';
import { startEcho } from '../helpers/backends.ts';
import { ironsocket, ironsocketAs } from '../helpers/commands.ts';
import { type ProxyOptions, type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { change, configFile } from '../helpers/reload.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';
import { otherVersion, setVersion, upgradeByCommand } from '../helpers/upgrade.ts';

const echo = await startEcho();

async function serving(t: TestContext, config: ProxyOptions['config'] = {}): Promise<RunningProxy> {
  const proxy = await startProxy({ listeners: [{ name: 'web', backend: echo.address }], config });
  t.after(() => proxy.stop());
  return proxy;
}

async function statusOf(proxy: RunningProxy): Promise<Status> {
  const { code, stdout, stderr } = await ironsocket('status', '-c', configFile(proxy), '--json');
  assert.equal([code, stderr], [0, '']);
  return JSON.parse(stdout) as Status;
}

test('while it stops, how long sessions still have', async (t) => {
  const proxy = await serving(t, { timeouts: { drain: '30s' } });
  const { peer, socket } = await tlsConnect({ port: proxy.port });
  socket.write('x');
  await peer.read(1);
  process.kill(proxy.keeperPid, 'SIGTERM');
  await proxy.log.waitFor({ event: 'draining' });
  const { state, drain_left_s: left } = await statusOf(proxy);
  assert.is(state, 'stopping');
  assert.ok(left !== null && left > 0 && left <= 30, `${left} s`);
  const { stdout } = await ironsocket('status', '-c', configFile(proxy));
  assert.match(stdout, /^ironsocket +\S+, stopping: sessions have \d+s to end; here for \d+s$/m);
  socket.destroy();
});

test('versions, processes, listeners, sessions and the last reload', async (t) => {
  const proxy = await serving(t, { offload: 'userspace' });
  const clients = [await tlsConnect({ port: proxy.port }), await tlsConnect({ port: proxy.port })];
  for (const { socket, peer } of clients) {
    socket.write('x');
    await peer.read(1);
  }
  const status = await statusOf(proxy);
  assert.is(status.pid, proxy.keeperPid);
  assert.is(status.master.pid, proxy.masterPid());
  assert.is(status.worker?.pid, proxy.workerPid());
  assert.equal([status.generation, status.revision, status.state], [1, 1, 'serving']);
  assert.is(status.config, configFile(proxy));
  assert.is(status.node, process.versions.node);
  assert.equal(status.listeners, [
    { name: 'web', addresses: [`127.0.0.1:${proxy.port}`], backend: echo.address, offload: 'userspace' },
  ]);
  const both = { kernel: 0, userspace: 2 };
  const engines = { ...both, kernel_tx: 0, kernel_rx: 0 };
  assert.equal(status.sessions, { open: 2, total: 2, engines, from_client: { ...both }, to_client: { ...both } });
  assert.equal([status.counters.handshakes_completed, status.leaving], [2, []]);
  assert.is(status.last_reload, null);

  await change(proxy, (document) => Object.assign(document, { max_connections: 10 }));
  const later = await statusOf(proxy);
  assert.is(later.revision, 2);
  assert.equal([later.last_reload?.outcome, later.last_reload?.trigger], ['changed', 'signal']);
  assert.equal(later.last_reload?.changes?.settings, ['max_connections']);
  const { stdout } = await ironsocket('status', '-c', configFile(proxy));
  assert.match(stdout, /^sessions +2 open, 2 in all$/m);
  assert.match(stdout, /^ {2}from clients +0 by the kernel, 2 by userspace$/m);
  assert.match(stdout, /^last reload +\S+Z, by signal: changed$/m);
  for (const { socket } of clients) socket.destroy();
});

test('its socket is the owner’s alone, outlives a master and goes with the service', async (t) => {
  const proxy = await serving(t, { control: 'control.sock' });
  const control = join(proxy.directory, 'control.sock');
  assert.is(statSync(control).mode & 0o777, 0o600);
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  // Asked for before the next master is there: it waits.
  assert.is((await statusOf(proxy)).master.restarts, 1);
  await proxy.log.waitFor({ event: 'ready' }, { from });
  await change(proxy, (document) => Object.assign(document, { max_connections: 10 }));
  const { child } = proxy;
  child.kill('SIGTERM');
  await once(child, 'exit');
  assert.not(existsSync(control));
  const { code, stderr } = await ironsocket('status', '--control', control);
  assert.is(code, 71);
  assert.match(stderr, /can't reach the service by .*control\.sock/);
});

test(
  'another user is not listened to, even where the file lets him',
  async (t) => {
    // Where another user can go.
    const control = `/tmp/ironsocket-test-${process.pid}.sock`;
    const proxy = await serving(t, { control });
    const ask = () => askAs(65534, control);
    assert.match(await ask(), /EACCES/);
    chmodSync(control, 0o666);
    assert.is(await ask(), 'closed');
    await proxy.log.waitFor({ error_msg: 'a request on the control socket was refused', error_desc: /^user 65534,/ });
    assert.is((await statusOf(proxy)).pid, proxy.keeperPid);
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'only root can be another user' },
);

/** What a user without rights gets who asks for a reload. */
async function askAs(uid: number, path: string): Promise<string> {
  const { spawn } = await import('node:child_process');
  const script = `
    const socket = require('net').connect(${JSON.stringify(path)});
    let got = '';
    socket.on('connect', () => socket.write('{"v":1,"command":"reload"}\\n'));
    socket.on('data', (data) => { got += data; });
    socket.on('error', (error) => { got += error.code === 'EPIPE' || error.code === 'ECONNRESET' ? '' : error.code; });
    socket.on('close', () => console.log(got || 'closed'));`;
  // Node itself may lie where only root can go.
  const child = spawn('/proc/self/exe', ['-e', script], {
    uid,
    gid: uid,
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: '/',
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'close');
  return text.trim();
}

test('what is no request gets an error, and hurts nobody', async (t) => {
  const proxy = await serving(t);
  const { control } = await statusOf(proxy);
  for (const line of ['', 'null', '{}', '{"v":2,"command":"status"}', '{"v":1,"command":"toString"}', '[', '\0']) {
    const socket = net.connect({ path: control ?? '' });
    socket.write(`${line}\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.is(JSON.parse(String(answer)).type, 'error', line);
    socket.destroy();
  }
  const silent = net.connect({ path: control ?? '' });
  silent.end();
  await once(silent.resume(), 'close');
  assert.is((await statusOf(proxy)).pid, proxy.keeperPid);
});

test('the version is that of what runs, whatever lies in its place by now', async (t) => {
  const proxy = await serving(t);
  const copy = otherVersion('9.9.9');
  t.after(copy.remove);
  assert.is((await upgradeByCommand(proxy, '--to', copy.directory)).code, 0);
  for (const replace of [() => setVersion(copy.directory, '9.9.10'), copy.remove]) {
    replace();
    assert.is((await statusOf(proxy)).version, '9.9.9');
  }
});

test('off: there is none', async (t) => {
  const proxy = await serving(t, { control: 'off' });
  const { code, stderr } = await ironsocket('status', '-c', configFile(proxy));
  assert.is(code, 71);
  assert.match(stderr, /no service runs with/);
  // HUP reloads all the same.
  await change(proxy, (document) => Object.assign(document, { max_connections: 10 }));
});

test('without a service there is a sentence, and 71', async () => {
  const { code, stderr } = await ironsocketAs({ env: { XDG_RUNTIME_DIR: '/none' } }, 'status', '-c', '/none.yaml');
  assert.is(code, 71);
  assert.match(stderr, /no service runs with \/none\.yaml/);
});
