// SPDX-License-Identifier: MIT
// What systemd would hear (sd_notify(3)), in its exact order, and from the keeper alone.
// Not in the kernel lab: no session and no record engine is in it.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { PlayedKeeper } from '../helpers/keeper.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { type ProxyOptions, type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { edit, reload } from '../helpers/reload.ts';
import { type Notice, ServiceManager } from '../helpers/service-manager.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { upgradeByCommand, upgradeBySignal } from '../helpers/upgrade.ts';

const echo = await startEcho();

interface Managed {
  readonly manager: ServiceManager;
  readonly proxy: RunningProxy;
}

async function managed(t: TestContext, kind: 'path' | 'abstract', env: ProxyOptions['env'] = {}): Promise<Managed> {
  const manager = await ServiceManager.start(kind);
  t.after(() => manager.stop());
  const listeners = [{ name: 'web', backend: echo.address }];
  const proxy = await startProxy({ listeners, env: { ...env, NOTIFY_SOCKET: manager.address } });
  t.after(() => proxy.stop());
  await manager.hears('READY');
  return { manager, proxy };
}

/** Does something, and gives what is heard up to the READY that ends it. */
async function hearing({ manager }: Managed, work: () => Promise<unknown>): Promise<readonly Notice[]> {
  const from = manager.heard.length;
  await work();
  await manager.hears('READY', from);
  return manager.heard.slice(from);
}

const microseconds = () => Number(process.hrtime.bigint() / 1000n);

/** RELOADING of this very moment, then READY. */
async function passes(service: Managed, status: RegExp, work: () => Promise<unknown>): Promise<void> {
  const before = microseconds();
  const [first, second, ...more] = await hearing(service, work);
  assert.is(first?.RELOADING, '1');
  const told = Number(first?.MONOTONIC_USEC);
  assert.ok(told >= before && told <= microseconds(), `${told} is not now`);
  assert.is(second?.READY, '1');
  assert.is(second?.MAINPID, String(service.proxy.keeperPid));
  assert.match(second?.STATUS ?? '', status);
  assert.equal(more, []);
}

test(
  'start, reloads and upgrades, good and bad, and the stop: one process says it',
  async (t) => {
    const service = await managed(t, 'path');
    const { manager, proxy } = service;
    assert.match(manager.heard[0]?.STATUS ?? '', /^ironsocket \S+, generation 1, revision 1$/);
    await passes(service, /generation 1, revision 2$/, async () => {
      edit(proxy, (document) => Object.assign(document, { max_connections: 10 }));
      await reload(proxy);
    });
    await passes(service, /generation 1, revision 2; the last reload failed, see the log$/, async () => {
      edit(proxy, (document) => Object.assign(document, { max_connections: -1 }));
      assert.is((await reload(proxy)).outcome, 'refused');
    });
    edit(proxy, (document) => Object.assign(document, { max_connections: 10 }));
    for (const generation of [2, 3, 4]) {
      await passes(service, new RegExp(`generation ${generation}, revision 2$`), () => upgradeBySignal(proxy));
    }
    await passes(service, /generation 4, revision 2; the last upgrade failed, see the log$/, async () => {
      assert.is((await upgradeByCommand(proxy, '--to', '/there/is/none')).code, 75);
    });
    // It changes nothing, so there is nothing to tell.
    assert.is((await upgradeByCommand(proxy, '--check')).code, 0);

    const from = manager.heard.length;
    proxy.child.kill('SIGTERM');
    assert.equal(await once(proxy.child, 'exit'), [0, null]);
    const [stopping, draining] = [
      await manager.hears('STOPPING', from),
      await manager.hears('EXTEND_TIMEOUT_USEC', from),
    ];
    assert.equal(manager.heard.slice(from), [stopping, draining]);
    // The drain of a second, and time to end.
    const extended = Number(draining.EXTEND_TIMEOUT_USEC);
    assert.ok(extended > 10_000_000 && extended <= 11_000_000, String(extended));
    assert.equal(new Set(manager.heard.map(({ pid }) => pid)), new Set([proxy.keeperPid]));
  },
  { deadline: 40_000 },
);

test('an abstract socket, the watchdog, and no other process that could speak', async (t) => {
  const { manager, proxy } = await managed(t, 'abstract', { WATCHDOG_USEC: '400000' });
  await manager.hears('WATCHDOG');
  await upgradeBySignal(proxy);
  // The next keeper goes on with it.
  for (let i = 0; i < 2; i++) await manager.hears('WATCHDOG', manager.heard.length);
  for (const pid of descendants(proxy.keeperPid)) {
    assert.not.match(readFileSync(`/proc/${pid}/environ`, 'latin1'), /NOTIFY_SOCKET|WATCHDOG/);
  }
});

test('the keep-alive of another process is not ours', async (t) => {
  const { manager, proxy } = await managed(t, 'path', { WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' });
  await reload(proxy);
  await manager.hears('READY', 1);
  assert.equal(manager.words, ['READY', 'RELOADING', 'READY']);
});

test('a reload that is refused during an upgrade is told, and READY waits for the end of both', async (t) => {
  const service = await managed(t, 'path', { IRONSOCKET_TEST_PAUSES: '1' });
  const { manager, proxy } = service;
  const notices = await hearing(service, async () => {
    // Time to get there and to be refused, also where the machine stands still now and then.
    const upgrade = upgradeByCommand(proxy, '--pause-at', 'spawning', '--timeout', '8s');
    await proxy.log.waitFor({ event: 'upgrade', phase: 'spawning', paused: 'true' });
    assert.is((await reload(proxy)).outcome, 'refused');
    await manager.hears('RELOADING', 2);
    assert.equal(manager.words, ['READY', 'RELOADING', 'RELOADING']);
    assert.is((await upgrade).code, 75);
  });
  assert.equal(
    notices.map(({ RELOADING, READY }) => [RELOADING, READY]),
    [
      ['1', undefined],
      ['1', undefined],
      [undefined, '1'],
    ],
  );
});

test('a master that dies in an upgrade leaves nobody waiting', async (t) => {
  const service = await managed(t, 'path', { IRONSOCKET_TEST_PAUSES: '1' });
  const { manager, proxy } = service;
  await hearing(service, async () => {
    const upgrade = upgradeByCommand(proxy, '--pause-at', 'spawning');
    await proxy.log.waitFor({ event: 'upgrade', phase: 'spawning', paused: 'true' });
    process.kill(proxy.masterPid(), 'SIGKILL');
    assert.is((await upgrade).code, 71);
  });
  assert.equal(manager.words, ['READY', 'RELOADING', 'STATUS', 'READY']);
  assert.match(manager.heard[2]?.STATUS ?? '', /the master died and is started again: signal 9/);
});

test('a manager that is not there is missed once, and nothing else', async (t) => {
  const env = { NOTIFY_SOCKET: '/there/is/none' };
  const proxy = await startProxy({ listeners: [{ backend: echo.address }], env });
  t.after(() => proxy.stop());
  const complaints = () => proxy.log.all({ error_msg: /the service manager can't be told/ });
  await reload(proxy);
  await reload(proxy);
  assert.is(complaints().length, 1);
  assert.is(complaints()[0]?.error_desc, 'sendto: No such file or directory');
  // The next keeper says it again.
  await upgradeBySignal(proxy);
  await reload(proxy);
  await reload(proxy);
  assert.is(complaints().length, 2);
});

test('a candidate and a master that leaves are not listened to', async (t) => {
  const manager = await ServiceManager.start();
  t.after(() => manager.stop());
  const keeper = await PlayedKeeper.start({ NOTIFY_SOCKET: manager.address });
  t.after(() => keeper.stop());
  const serving = await keeper.master();
  serving.says('ready');
  serving.says(keeper.candidate(), 'peer');
  const candidate = await keeper.master();
  candidate.says('state serving too early');
  candidate.says('ready');
  await serving.hears('candidate-ready');
  serving.says('state serving first\nREADY=injected');
  serving.says('commit');
  await serving.hears('role leaving');
  serving.says('state serving too late');
  await candidate.hears('keeper replaced');
  serving.says('exit 0');
  serving.exits(0);
  // Its end is reaped after all that it has said was read.
  assert.equal(await survivors([serving.pid]), []);
  candidate.says('state serving second');
  await manager.hears('READY', 1);
  assert.equal(
    manager.heard.map(({ READY, STATUS }) => [READY, STATUS]),
    [
      ['1', 'first'],
      ['1', 'second'],
    ],
  );
});
