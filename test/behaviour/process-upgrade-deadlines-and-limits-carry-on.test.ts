// SPDX-License-Identifier: MIT
// What was left of a deadline is what is left after an upgrade; max_connections counts those who moved.
// Not in the kernel lab: timers and counts are the session's, not the record engine's.
import { setTimeout as wait } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { startBackend, startBlackHole } from '../helpers/backends.ts';
import { Peer } from '../helpers/peer.ts';
import { survivors } from '../helpers/processes.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type TestContext, test as testWith } from '../helpers/suite.ts';
import { exchangeRaw } from '../helpers/tls-client.ts';
import { alert } from '../helpers/tls-records.ts';
import { upgradeByCommand, upgradeBySignal } from '../helpers/upgrade.ts';
import type { Session } from '../helpers/variants.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const silentBackend = await startBackend();
const backend = await startBackend();
/** Milliseconds, and how many of them have passed when the upgrade comes, for which the others are more than enough. */
const timeout = 10_000;
const passed = 3_000;

test('deadlines come at their time, whoever has the session by then', deadlines, { deadline: 40_000 });
async function deadlines(t: TestContext): Promise<void> {
  const limit = `${timeout}ms`;
  const timeouts = { idle: '1h', half_closed: '1h', connect: '1h' };
  const proxy = await startProxy({
    config: { timeouts: { handshake: limit } },
    listeners: [
      { name: 'idle', backend: silentBackend.address, timeouts: { ...timeouts, idle: limit } },
      { name: 'half', backend: silentBackend.address, timeouts: { ...timeouts, half_closed: limit } },
      { name: 'connect', backend: await startBlackHole(), timeouts: { ...timeouts, connect: limit } },
    ],
  });
  t.after(() => proxy.stop());
  const [idlePort = 0, halfPort = 0, connectPort = 0] = proxy.ports;
  const old = [proxy.masterPid(), proxy.workerPid()];

  const idle = await RawTlsClient.connect({ port: idlePort });
  const half = await RawTlsClient.connect({ port: halfPort });
  half.sendAlert(alert.closeNotify);
  const connecting = await RawTlsClient.connect({ port: connectPort });
  const silent = await Peer.connect({ port: idlePort });
  const opened = Date.now();
  const ends = Promise.all(
    [idle.outcome(), half.outcome(), connecting.outcome(), silent.outcome()].map(async (end) => {
      await end;
      return Date.now();
    }),
  );
  await wait(passed);
  await upgradeBySignal(proxy);
  // The next thing then is to move the sessions: a deadline that began anew would come so much later.
  const { timestamp = '' } = await proxy.log.waitFor({ event: 'upgrade', phase: 'committed' });
  const committed = Date.parse(timestamp);
  for (const end of await ends) {
    assert.ok(end - opened > timeout * 0.8, `after ${end - opened} ms`);
    assert.ok(end - committed < timeout, `${end - committed} ms after the commit`);
  }
  for (const [client, reason] of [
    [idle, 'idle_timeout'],
    [half, 'half_closed_timeout'],
    [connecting, 'connect_timeout'],
  ] as const) {
    const end = await proxy.sessionEnd(client.port);
    assert.is(end.reason, reason);
    assert.is.not(end.pid, String(old[1]));
  }
  // The handshake that was never finished was the last thing that kept them.
  assert.equal(await survivors(old), []);
}

test('max_connections counts those who moved, and a place that gets free is used', async (t) => {
  const limit = 5;
  const proxy = await startProxy({ listeners: [{ backend: backend.address }], config: { max_connections: limit } });
  t.after(() => proxy.stop());
  const all: Session[] = [];
  const open = async (): Promise<Session> => {
    for (;;) {
      const client = await RawTlsClient.connect({ port: proxy.port }).catch(() => undefined);
      if (client !== undefined) return { client, server: await backend.next() };
    }
  };
  while (all.length < limit) all.push(await open());
  for (let round = 0; round < 2; round++) {
    await upgradeBySignal(proxy);
    for (let i = 0; i < 5; i++) assert.is((await exchangeRaw(proxy.port, Buffer.alloc(0))).data.length, 0);
    const first = all.shift();
    first?.client.peer.reset();
    await proxy.sessionEnd(first?.client.port);
    all.push(await open());
  }
  for (const { client, server } of all) {
    client.sendData('still');
    assert.is((await server.read(5)).toString(), 'still');
    client.peer.reset();
  }
});

test('a master that follows a dead one that was leaving keeps the limit of the stop', async (t) => {
  const proxy = await startProxy({
    listeners: [{ backend: backend.address }],
    config: { timeouts: { drain: '5s' } },
    env: { IRONSOCKET_TEST_PAUSES: '1' },
  });
  t.after(() => proxy.stop());
  const master = proxy.masterPid();
  const client = await RawTlsClient.connect({ port: proxy.port });
  const { report } = await upgradeByCommand(proxy, '--pause-at', 'no-batch');
  assert.is(report?.sessions.kept, 1);
  const from = proxy.log.lines.length;
  const stopped = performance.now();
  process.kill(proxy.keeperPid, 'SIGTERM');
  await proxy.log.waitFor({ event: 'draining', pid: master }, { from });
  process.kill(master, 'SIGKILL');
  await proxy.log.waitFor({ event: 'worker', worker_state: 'adopted' }, { from });
  await client.outcome();
  assert.ok(performance.now() - stopped > 4_500, `after ${performance.now() - stopped} ms`);
});
