// SPDX-License-Identifier: MIT
// Upgrades by SIGUSR2 and by command: the PID stays, nobody is refused, sessions that are open live on, tickets stay good, and what
// was there before is there after it.
// Not in the kernel lab: who serves is the same with every engine; sessions that move have a test that runs there.
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { descendants, filesAgain, settledFiles, survivors } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test as testWith } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';
import { upgradeByCommand, upgradeBySignal } from '../helpers/upgrade.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const echo = await startEcho();

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

async function visit({ port }: RunningProxy): Promise<void> {
  const client = await RawTlsClient.connect({ port, version: '1.3' });
  await say(client, 'a visit');
  client.peer.reset();
}

test(
  'connections come without a pause through ten upgrades, and none is refused',
  async (t) => {
    const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
    t.after(() => proxy.stop());
    const all = () => [proxy.keeperPid, ...descendants(proxy.keeperPid)];
    await visit(proxy);
    await upgradeBySignal(proxy);
    await visit(proxy);
    const files = await settledFiles(all);
    assert.is(all().length, 3);
    let done = false;
    let visits = 0;
    const visitors = Array.from({ length: 3 }, async () => {
      for (; !done; visits++) await visit(proxy);
    });
    for (let i = 2; i <= 10; i++) {
      const generation = await upgradeBySignal(proxy);
      assert.is(generation, i + 1);
    }
    done = true;
    await Promise.all(visitors);
    assert.ok(visits > 50, `${visits} visits`);
    assert.is(proxy.child.exitCode, null);
    // One master and one worker, and each holds what it held.
    while (all().length !== 3) await new Promise((resolve) => setTimeout(resolve, 10));
    await filesAgain(all, files);
  },
  { deadline: 60_000 },
);

test('an open session goes to the new worker, and nothing of the old version stays', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
  await say(client, 'before');
  const [master, worker] = [proxy.masterPid(), proxy.workerPid()];
  const { code, report } = await upgradeByCommand(proxy);
  assert.is(code, 0);
  const { moved, kept, lost } = report?.sessions ?? {};
  assert.equal([moved, kept, lost], [1, 0, 0]);
  assert.is(report?.keeper, 'replaced');
  await say(client, 'after the first');
  assert.equal(await survivors([master, worker]), []);
  await upgradeBySignal(proxy);
  await say(client, 'after the second');
  await visit(proxy);
  client.peer.socket.end();
});

for (const version of ['1.3', '1.2'] as const) {
  test(`a ticket of TLS ${version} is good after an upgrade`, async (t) => {
    const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
    t.after(() => proxy.stop());
    const only = { minVersion: `TLSv${version}`, maxVersion: `TLSv${version}` } as const;
    const first = await tlsConnect({ port: proxy.port, ...only });
    const ticket = version === '1.3' ? once(first.socket, 'session') : undefined;
    first.socket.write('ping');
    await first.peer.read(4);
    const [session] = (await ticket) ?? [first.socket.getSession()];
    first.socket.destroy();
    await upgradeBySignal(proxy);
    const second = await tlsConnect({ port: proxy.port, ...only, session: session as Buffer });
    assert.ok(second.socket.isSessionReused());
    second.socket.destroy();
  });
}

test('a master and a worker that die after an upgrade are replaced as before it', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  await upgradeBySignal(proxy);
  let from = proxy.log.lines.length;
  process.kill(proxy.workerPid(), 'SIGKILL');
  await proxy.log.waitFor({ worker_state: 'spawned' }, { from });
  await visit(proxy);
  const [master] = descendants(proxy.keeperPid).filter((pid) => pid !== proxy.workerPid());
  from = proxy.log.lines.length;
  process.kill(master ?? 0, 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  await visit(proxy);
  await upgradeBySignal(proxy);
  await visit(proxy);
});
