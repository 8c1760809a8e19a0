// SPDX-License-Identifier: MIT
// What `status` counts goes on over upgrades and over the death of whoever counts: at no moment does a total go back, or a session count
// twice; what is lost is told, and who is still leaving.
// Not in the kernel lab: who counts is the same with every engine.
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import type { Status } from '../../src/master/status.ts';
import { counterNames } from '../../src/native.ts';
import { startEcho } from '../helpers/backends.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type TestContext, test as testWith } from '../helpers/suite.ts';
import { otherVersion, upgradeByCommand } from '../helpers/upgrade.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const echo = await startEcho();
const gauges = ['connections_open', 'handshakes_open', 'sessions_open', 'sessions_staying', 'handoffs_open'];
const memory = ['session_slots', 'buffer_blocks'];
const events = counterNames.filter(
  (name) => ![...gauges, ...memory].includes(name) && !name.startsWith('sessions_kernel'),
);
const count = 10;

async function serving(t: TestContext): Promise<RunningProxy> {
  const listeners = [{ backend: echo.address }];
  const config = { offload: 'userspace', timeouts: { handshake: '1m' } };
  const proxy = await startProxy({ listeners, config, env: { IRONSOCKET_TEST_PAUSES: '1' } });
  t.after(() => proxy.stop());
  return proxy;
}

const statusOf = async (proxy: RunningProxy) =>
  (await ask(join(controlDirectory(), `${proxy.keeperPid}.sock`), { command: 'status' })) as Status;

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

async function open(proxy: RunningProxy): Promise<RawTlsClient[]> {
  const clients = await Promise.all(
    Array.from({ length: count }, () => RawTlsClient.connect({ port: proxy.port, version: '1.3' })),
  );
  for (const client of clients) await say(client, 'hello');
  return clients;
}

/** Asks again and again; each answer is held against the one before. */
function watch(proxy: RunningProxy, sessions: number): () => Promise<number> {
  let over = false;
  const watching = (async () => {
    let asked = 0;
    let last: Status | undefined;
    for (; !over; asked++) {
      const now = await statusOf(proxy);
      for (const name of events) {
        const before = last?.counters[name] ?? 0;
        assert.ok(now.counters[name] >= before, `${name} went back from ${before} to ${now.counters[name]}`);
      }
      // A master that has just been replaced still answers whom it has let in, of its own workers alone.
      const replaced = now.sessions.open !== sessions && (await statusOf(proxy)).generation > now.generation;
      if (!replaced) assert.is(now.sessions.open, sessions);
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return asked;
  })();
  return () => {
    over = true;
    return watching;
  };
}

test(
  'three upgrades: totals never go back, and every session counts once',
  async (t) => {
    const proxy = await serving(t);
    const clients = await open(proxy);
    const first = await statusOf(proxy);
    const stop = watch(proxy, count);
    for (let round = 0; round < 3; round++) {
      const { report } = await upgradeByCommand(proxy);
      assert.is(report?.sessions.moved, count);
      for (const client of clients) await say(client, 'again');
    }
    const asked = await stop();
    assert.ok(asked > 3, `${asked} answers`);
    const { counters, generation, last_upgrade } = await statusOf(proxy);
    assert.is(generation, 4);
    assert.equal([counters.sessions_total, counters.handshakes_completed], [count, count]);
    assert.equal([counters.sessions_given, counters.sessions_taken], [3 * count, 3 * count]);
    assert.is(counters.bytes_from_client - first.counters.bytes_from_client, 3 * count * 'again'.length);
    assert.equal([last_upgrade?.sessions?.moved, last_upgrade?.sessions?.lost], [count, 0]);
    for (const client of clients) client.peer.reset();
  },
  { deadline: 60_000 },
);

test('numbers of a worker and of masters that were killed stay', async (t) => {
  const proxy = await serving(t);
  const clients = await open(proxy);
  await upgradeByCommand(proxy);
  let from = proxy.log.lines.length;
  process.kill(proxy.workerPid(), 'SIGKILL');
  await proxy.log.waitFor({ worker_state: 'spawned' }, { from });
  for (const client of clients) await client.peer.end;
  const after = await open(proxy);
  const { master } = await statusOf(proxy);
  from = proxy.log.lines.length;
  process.kill(master.pid, 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  const { counters, sessions } = await statusOf(proxy);
  assert.equal([counters.sessions_total, counters.connections_accepted], [2 * count, 2 * count]);
  assert.equal([sessions.open, counters.connections_open], [count, count]);
  // Ids begin with the number of the worker, which was no other's.
  const ids = proxy.log.all({ event: 'auth', outcome: 'granted' }).map(({ connection_id }) => connection_id);
  assert.is(new Set(ids).size, 2 * count);
  assert.ok(
    ids.every((id) => /^[13]-\d+$/.test(id ?? '')),
    ids.join(),
  );
  for (const client of after) client.peer.reset();
});

test('numbers of a worker that came and went while the new version started stay', async (t) => {
  const proxy = await serving(t);
  const slow = otherVersion('9.9.9', (directory) => {
    const main = join(directory, 'dist/master/main.js');
    renameSync(main, join(directory, 'dist/master/later.js'));
    const wait = `while (!existsSync('${directory}/go')) await new Promise((r) => setTimeout(r, 5));`;
    writeFileSync(main, `import { existsSync } from 'node:fs'; ${wait} await import('./later.js');`);
  });
  t.after(slow.remove);
  let from = proxy.log.lines.length;
  const upgrade = upgradeByCommand(proxy, '--to', slow.directory);
  await proxy.log.waitFor({ event: 'upgrade', phase: 'preflight' }, { from });
  for (let round = 0; round < 2; round++) {
    from = proxy.log.lines.length;
    process.kill(proxy.workerPid(), 'SIGKILL');
    await proxy.log.waitFor({ worker_state: 'spawned' }, { from });
    if (round === 0) await open(proxy);
  }
  writeFileSync(join(slow.directory, 'go'), '');
  const { code, stderr } = await upgrade;
  assert.is(code, 0, stderr);
  const { counters, sessions } = await statusOf(proxy);
  assert.equal([counters.sessions_total, counters.connections_accepted, sessions.open], [count, count, 0]);
});

test('a handshake that is under way is told, and by status the worker that waits for it', async (t) => {
  const proxy = await serving(t);
  const [, worker] = [proxy.masterPid(), proxy.workerPid()];
  const silent = net.connect(proxy.port, '127.0.0.1');
  await once(silent, 'connect');
  while ((await statusOf(proxy)).counters.handshakes_open === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const { report } = await upgradeByCommand(proxy);
  assert.equal(report?.sessions.handshakes, { finished: 0, moved: 0, open: 1 });
  const status = await statusOf(proxy);
  assert.equal(status.leaving, [{ id: 1, pid: worker, sessions: 0, handshakes: 1 }]);
  assert.equal([status.counters.connections_open, status.counters.handshakes_open], [1, 1]);
  silent.destroy();
  await proxy.log.waitFor({ event: 'left' });
  const end = await statusOf(proxy);
  assert.equal([end.leaving, end.counters.connections_open, end.counters.connections_accepted], [[], 0, 1]);
});

test('where the old master dies, the new one tells what became of the sessions', async (t) => {
  const proxy = await serving(t);
  const clients = await open(proxy);
  const [master, worker] = [proxy.masterPid(), proxy.workerPid()];
  const upgrade = upgradeByCommand(proxy, '--pause-at', 'no-batch');
  await proxy.log.waitFor({ event: 'upgrade', paused: 'true' });
  process.kill(master, 'SIGKILL');
  assert.is((await upgrade).code, 71);
  let status = await statusOf(proxy);
  for (; status.last_upgrade === null; status = await statusOf(proxy)) await new Promise((r) => setTimeout(r, 5));
  const { outcome, trigger, sessions } = status.last_upgrade;
  assert.equal([outcome, trigger], ['committed', 'command']);
  assert.equal([sessions?.moved, sessions?.kept, sessions?.lost], [0, count, 0]);
  assert.equal(status.leaving, [{ id: 1, pid: worker, sessions: count, handshakes: 0 }]);
  assert.is(status.sessions.open, count);
  for (const client of clients) await say(client, 'still here');
  for (const client of clients) client.peer.reset();
});
