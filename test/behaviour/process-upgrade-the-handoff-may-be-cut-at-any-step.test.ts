// SPDX-License-Identifier: MIT
// An upgrade is stopped inside the handoff of its sessions, and then one of the processes is killed, or nobody is and time runs out.
// Each session lives on with every byte in the worker that owns it; only those of a killed worker are lost, and the report counts them.
// In the kernel lab on the newest alone: who owns what is the same with every kernel.
import { once } from 'node:events';
import * as net from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import type { UpgradeReport } from '../../src/upgrade/report.ts';
import { type HandoffStep, handoffSteps } from '../../src/worker/handoff-step.ts';
import { startBackend } from '../helpers/backends.ts';
import { CheckedSession } from '../helpers/checked-session.ts';
import { engines, isKernel } from '../helpers/engines.ts';
import type { Match } from '../helpers/log-lines.ts';
import { descendants, filesAgain, settledFiles, survivors } from '../helpers/processes.ts';
import { type TestContext, test as testWith } from '../helpers/suite.ts';
import { upgradeByCommand, upgradeBySignal } from '../helpers/upgrade.ts';
import { sharedProxy } from '../helpers/variants.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const threads = 2;
const count = 8;
const streams = 3;
type Victim = 'worker' | 'newWorker' | 'master' | 'candidate' | 'nobody';

/** Sessions that end with the victim. Those in a pair belong to the donor while it lives, and then to the recipient. */
const lost: Record<HandoffStep, Partial<Record<Victim, number>>> = {
  'no-batch': { worker: count },
  unanswered: {},
  'part-given': { worker: count - 2 * threads, newWorker: threads },
  'all-given': { newWorker: count },
};
/** Sessions that stay with the old worker, unless it is the one that dies. */
const keptAt: Record<HandoffStep, number> = {
  'no-batch': count,
  unanswered: count,
  'part-given': count - threads,
  'all-given': 0,
};
/** Lines that say where it stands still. */
const pauses: Record<HandoffStep, number> = {
  'no-batch': 1,
  unanswered: threads,
  'part-given': threads,
  'all-given': 1,
};

const backend = await startBackend({ taking: 'count' });
const [engine] = engines;
if (engine === undefined) throw new Error('no engine');
const proxy = await sharedProxy(
  {
    listeners: [{ backend: backend.address }],
    config: { threads: { relay: threads } },
    env: { IRONSOCKET_TEST_PAUSES: '1' },
  },
  engine,
);
const control = join(controlDirectory(), `${proxy.keeperPid}.sock`);
const processes = () => [proxy.keeperPid, ...descendants(proxy.keeperPid)];

const open = () => {
  const all = Array.from({ length: count }, (_, i) => i);
  return all.reduce<Promise<CheckedSession[]>>(async (before, seed) => {
    const version = seed % 2 === 0 ? '1.3' : '1.2';
    return [...(await before), await CheckedSession.open(proxy.port, backend, { version, seed })];
  }, Promise.resolve([]));
};

/** Connects again and again until the test ends, and fails when it is refused once. A worker may die with a connection that it has accepted. */
function knock(t: TestContext): void {
  let done = false;
  const knocking = (async () => {
    while (!done) {
      const socket = net.connect(proxy.port, '127.0.0.1');
      await once(socket, 'connect').catch((error) => assert.is(error.code, 'ECONNRESET'));
      socket.on('error', () => {}).destroy();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  t.after(() => {
    done = true;
    return knocking;
  });
}

/** Who served before the line `from`, and who came after it. */
function pids(from: number) {
  const at = (match: Match, key: string, line = proxy.log.lines.length) => {
    const known = new Set(proxy.log.lines.slice(0, line));
    return Number(proxy.log.all(match).findLast((each) => known.has(each))?.[key]);
  };
  const worker = { event: 'worker', worker_state: 'spawned' };
  return {
    master: at({ event: 'ready' }, 'pid', from),
    worker: at(worker, 'worker_pid', from),
    candidate: at({ event: 'startup' }, 'pid'),
    newWorker: at(worker, 'worker_pid'),
  };
}

/** Stops the next upgrade at `step`; its outcome, and who is who. */
async function stopAt(step: HandoffStep) {
  const from = proxy.log.lines.length;
  const upgrade = ask(control, { command: 'upgrade', pauseAt: step }).then(
    (report) => report as UpgradeReport,
    (error: Error) => error,
  );
  for (let seen = from, n = 0; n < pauses[step]; n++) {
    const line = await proxy.log.waitFor({ event: 'upgrade', paused: 'true' }, { from: seen, ms: 30_000 });
    seen = proxy.log.lines.indexOf(line) + 1;
  }
  return { from, upgrade, who: pids(from) };
}

async function visit(): Promise<void> {
  const visitor = await CheckedSession.open(proxy.port, backend, { version: '1.3', seed: 99 });
  await visitor.check();
  visitor.close();
}

/** Those that live on have every byte; how many have ended. */
async function checkAll(sessions: readonly CheckedSession[], dead: number): Promise<void> {
  while (sessions.filter(({ ended }) => ended).length < dead) await new Promise((resolve) => setTimeout(resolve, 5));
  const alive = sessions.filter(({ ended }) => !ended);
  for (const session of alive) await session.check();
  assert.is(sessions.length - alive.length, dead);
}

let base = '';
test('the base', async () => {
  await upgradeBySignal(proxy);
  await visit();
  base = await settledFiles(processes);
});

async function cell(t: TestContext, step: HandoffStep, victim: Victim): Promise<void> {
  const sessions = await open();
  t.after(() => {
    for (const session of sessions) session.close();
  });
  for (const session of sessions.slice(0, streams)) session.stream();
  knock(t);
  const { from, upgrade, who } = await stopAt(step);
  // All have gone: it tells so before anybody dies.
  if (step === 'all-given') await upgrade;
  const again = proxy.log.waitFor({ event: 'ready' }, { from: proxy.log.lines.length });
  again.catch(() => {});
  if (victim !== 'nobody') process.kill(who[victim], 'SIGKILL');
  // What has nothing to wait for would wait for ever.
  if (step === 'all-given' && victim !== 'worker') process.kill(who.worker, 'SIGKILL');
  const report = await upgrade;
  const dead = lost[step][victim] ?? 0;
  await checkAll(sessions, dead);
  if (victim === 'master' && step !== 'all-given') assert.match(String(report), /gave no answer/);
  else {
    if (report instanceof Error) throw report;
    const { moved, kept, lost } = report.sessions;
    const stay = victim === 'worker' ? 0 : keptAt[step];
    const gone = step === 'all-given' ? 0 : dead;
    assert.equal({ moved, kept, lost }, { moved: count - stay - gone, kept: stay, lost: gone });
  }
  await visit();
  for (const session of sessions) session.close();
  assert.equal(await survivors([who.master, who.worker]), []);
  await proxy.log.waitFor({ event: 'left' }, { from });
  // A master that was started again watches its worker by one descriptor more.
  if (victim === 'candidate') {
    await again;
    await upgradeBySignal(proxy);
  }
  while (processes().length !== 3) await new Promise((resolve) => setTimeout(resolve, 10));
  await filesAgain(processes, base);
}

// The masters' part is the same with every engine, and what is in no pair is nobody's matter.
const kernel = isKernel(engine);
const steps: readonly HandoffStep[] = kernel ? ['unanswered', 'part-given'] : handoffSteps;
const workers = ['worker', 'newWorker'] as const;
const victims: readonly Victim[] = kernel ? workers : [...workers, 'master', 'candidate', 'nobody'];
for (const step of steps) {
  for (const victim of victims) {
    test(`${step}: ${victim}`, (t) => cell(t, step, victim));
  }
}

// Nor does it matter to it who carries them.
if (!kernel) {
  test('sessions that stayed two versions behind live on through the next upgrade, and without their master', async (t) => {
    const sessions = await open();
    t.after(() => {
      for (const session of sessions) session.close();
    });
    const { upgrade, who } = await stopAt('part-given');
    const told = await upgrade;
    assert.is('sessions' in told && told.sessions.kept, count - threads);
    for (const session of sessions) session.stream();
    const { code, report } = await upgradeByCommand(proxy);
    assert.is(code, 0);
    const { moved, kept, lost: gone } = report?.sessions ?? {};
    assert.equal([moved, kept, gone], [threads, 0, 0]);
    for (const session of sessions) await session.check();
    while (processes().length !== 5) await new Promise((resolve) => setTimeout(resolve, 10));

    // TERM may go to every process of a service: only the keeper listens. A master that is killed is replaced.
    const from = proxy.log.lines.length;
    for (const session of sessions) session.stream();
    for (const pid of processes().slice(1)) process.kill(pid, 'SIGTERM');
    for (const session of sessions) await session.check();
    process.kill(who.master, 'SIGKILL');
    await proxy.log.waitFor({ event: 'worker', worker_state: 'adopted', worker_pid: who.worker }, { from });
    const [before] = proxy.log.all({ event: 'leaving', pid: who.master });
    assert.is((await proxy.log.waitFor({ event: 'leaving' }, { from })).generation, before?.generation);
    for (const session of sessions) await session.check();
    for (const session of sessions) session.close();
    await proxy.log.waitFor({ event: 'left' }, { from });
    while (processes().length !== 3) await new Promise((resolve) => setTimeout(resolve, 10));
    await filesAgain(processes, base);
  });
}
