// SPDX-License-Identifier: MIT
// An upgrade is stopped at the end of each phase before the commit, and then one of the processes dies, or time runs out: the old version
// serves on, with its sessions and all their bytes, and the next upgrade works. What comes after the commit is in
// process-upgrade-the-handoff-may-be-cut-at-any-step.
// Not in the kernel lab: up to the commit no session is touched, whoever carries its records.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { CheckedSession } from '../helpers/checked-session.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { startProxy } from '../helpers/proxy.ts';
import { afterAll, test as testWith } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { upgradeBySignal, upgradePaused } from '../helpers/upgrade.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const backend = await startBackend({ taking: 'count' });
const proxy = await startProxy({ listeners: [{ backend: backend.address }], env: { IRONSOCKET_TEST_PAUSES: '1' } });
afterAll(() => proxy.stop());

let seed = 0;
const connect = () => CheckedSession.open(proxy.port, backend, { version: '1.3', seed: seed++ });

/** Pids by their latest lines: of those who serve, and of a candidate. */
function serving() {
  const { worker_pid } = proxy.log.all({ event: 'worker', worker_state: 'spawned' }).at(-1) ?? {};
  return { master: Number(proxy.log.all({ event: 'ready' }).at(-1)?.pid), worker: Number(worker_pid) };
}
function candidate() {
  const { worker_pid } = proxy.log.all({ event: 'worker', worker_state: 'spawned' }).at(-1) ?? {};
  return { candidate: Number(proxy.log.all({ event: 'startup' }).at(-1)?.pid), newWorker: Number(worker_pid) };
}

/** Where nobody dies it passes; until then a slow machine has to start a version beside a stream. */
const timeout = 2 + 2 * timeFactor;
const before = ['master', 'worker', 'nobody'] as const;
const both = ['candidate', 'newWorker', ...before] as const;
const victims = { preflight: before, spawning: both, switching: both };

// Until the switch no session is touched, whoever carries its records: a slow machine tries that one.
const phases = timeFactor > 1 ? (['switching'] as const) : (['preflight', 'spawning', 'switching'] as const);
for (const phase of phases) {
  for (const victim of victims[phase]) {
    test(`${phase}: ${victim} dies`, async (t) => {
      const sessions = [await connect(), await connect()];
      t.after(() => {
        for (const session of sessions) session.close();
      });
      sessions[0]?.stream();
      const old = serving();
      const { from, upgrade } = await upgradePaused(proxy, phase, timeout);
      const all = { ...candidate(), ...old };
      // While no worker is at the listeners it waits in the queue.
      const visitor = connect();
      if (victim !== 'nobody') process.kill(all[victim], 'SIGKILL');
      if (victim === 'master') await proxy.log.waitFor({ event: 'ready' }, { from });
      const { code } = await upgrade;
      assert.is(code, victim === 'master' ? 71 : 75);
      sessions.push(await visitor);
      await (await visitor).check();
      for (const session of sessions.slice(0, 2)) {
        if (victim === 'worker') assert.ok(session.ended);
        else await session.check();
      }
      if (phase !== 'preflight') assert.equal(await survivors([all.candidate, all.newWorker]), []);
      await upgradeBySignal(proxy);
      sessions.push(await connect());
      await sessions.at(-1)?.check();
      for (const session of sessions) session.close();
      await proxy.log.waitFor({ event: 'left' }, { from });
      while (descendants(proxy.keeperPid).length !== 2) await new Promise((resolve) => setTimeout(resolve, 10));
    });
  }
}
