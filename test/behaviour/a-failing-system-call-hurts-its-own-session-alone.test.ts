// SPDX-License-Identifier: MIT
// System calls that fail under load: what passes hurts nobody, what is fatal to a socket ends its session, at both ends honestly;
// nothing spins, nothing leaks, no process dies. First some of what scripts/faults goes through, always the same ones unless
// IRONSOCKET_TEST_SEED chooses others; then cases of their own.
// In the kernel lab on the newest alone: which calls there are is the same with every kernel.
// Without sanitizers: their runtime stands before the same calls.
import * as assert from 'uvu/assert';
import { type Case, casesFor } from '../faults/cases.ts';
import { Scene } from '../faults/scene.ts';
import { caseName, sweep } from '../faults/sweep.ts';
import { type Engine, engines, isKernel, kernelRekeys } from '../helpers/engines.ts';
import { descendants } from '../helpers/processes.ts';
import { afterAll, test } from '../helpers/suite.ts';

/** Of all engines the lab has time for the one that makes most calls. */
const engine = engines[0] as Engine;
/** Each run takes the same ones, so that a change is to blame for what it finds. */
const seed = Number(process.env.IRONSOCKET_TEST_SEED ?? 1);
/** Park and Miller's generator. */
let state = seed + 1;
function random(below: number): number {
  state = (state * 48_271) % 2_147_483_647;
  return state % below;
}

const scene = await Scene.open(engine, !isKernel(engine) || kernelRekeys);
afterAll(() => scene.close());

const cases = casesFor(engine);
const ofMoment = (moment: Case['moment']): readonly Case[] => cases.filter((item) => item.moment === moment);
/** So many of them, each at most once. */
function some(count: number, all: readonly Case[]): Case[] {
  const left = [...all];
  return Array.from({ length: Math.min(count, all.length) }, () => left.splice(random(left.length), 1)).flat();
}

function hurtsNobodyElse(what: string, chosen: readonly Case[], mostN: number): void {
  test(
    `${engine.label}: ${what}`,
    async () => {
      let hits = 0;
      for (const item of chosen) {
        const n = 1 + random(mostN);
        const swept = await sweep(scene, item, [n]);
        assert.equal(swept.faults, [], `IRONSOCKET_TEST_SEED=${seed}, ${caseName(item)}, n=${n}`);
        hits += swept.hits;
      }
      assert.ok(hits > 0, `nothing failed; IRONSOCKET_TEST_SEED=${seed}`);
    },
    { deadline: 120_000 },
  );
}

const [traffic, upgrades, reloads] = isKernel(engine) ? [6, 1, 1] : [24, 3, 4];
hurtsNobodyElse('in the traffic', some(traffic, ofMoment(undefined)), 40);
hurtsNobodyElse('where nobody reads', some(1, ofMoment('slow')), 2);
hurtsNobodyElse('over an upgrade', some(upgrades, ofMoment('upgrade')), 3);
hurtsNobodyElse('over a reload', some(reloads, ofMoment('reload')), 1);

/** Signals that end nobody here: those that are nobody's but a terminal's or a parent's, and a stop that is over at once. */
const harmless = ['SIGCHLD', 'SIGURG', 'SIGWINCH', 'SIGSTOP', 'SIGCONT'] as const;

test(`${engine.label}: signals by the hundred interrupt no session`, async () => {
  const { proxy } = scene;
  const pids = [proxy.keeperPid, ...descendants(proxy.keeperPid)];
  let sent = 0;
  let quiet = false;
  const storm = setInterval(() => {
    for (const pid of quiet ? [] : pids) for (const signal of harmless) process.kill(pid, signal);
    if (!quiet) sent += pids.length * harmless.length;
  }, 2);
  try {
    for (let i = 0; i < 5; i++) {
      quiet = false;
      // Whether anybody spins is looked at while there are none.
      const { endings, faults } = await scene.round('usual', async () => {
        quiet = true;
      });
      assert.equal(faults, []);
      assert.is(endings.whole, 8);
    }
  } finally {
    clearInterval(storm);
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  }
  assert.ok(sent > 200, `${sent} signals`);
});

/** F_DUPFD_CLOEXEC */
const duplicate = 1030;

test(`${engine.label}: a new worker that finds no descriptor for a listener takes it as soon as there is one`, async () => {
  const { log } = scene.proxy;
  const from = log.lines.length;
  // The old worker has duplicated both to look at its plan without them, the new one to look at its own; this is to accept.
  scene.seam.arm({ call: 'fcntl', how: 'EMFILE', detail: duplicate, place: 'network' }, { first: 5 });
  const { round, committed } = await scene.upgrade();
  const { hits } = scene.seam.disarm();
  assert.equal({ committed, hits, ...round.endings }, { committed: true, hits: 1, whole: 8, refused: 0, cut: 0 });
  assert.equal(round.faults, []);
  await log.waitFor({ error_msg: 'the worker does not accept' }, { from });
  const { endings, faults } = await scene.round();
  assert.equal(faults, []);
  assert.is(endings.whole, 8);
});

test(`${engine.label}: what a worker can not tell its master at once it tells later`, async () => {
  // The worker's first message in a reload is that it has taken the plan.
  scene.seam.arm({ call: 'sendmsg', how: 'ENOBUFS', place: 'local' }, { first: 1, most: 3 });
  const { round, committed } = await scene.reload();
  const { hits } = scene.seam.disarm();
  assert.equal({ committed, hits, ...round.endings }, { committed: true, hits: 3, whole: 8, refused: 0, cut: 0 });
  assert.equal(round.faults, []);
});

test(`${engine.label}: what the keeper can not tell a master at once it tells later`, async () => {
  // The first words of an upgrade that the keeper says: to the serving master, and the introduction of the new one.
  for (const first of [1, 3]) {
    const hits = () => scene.seam.told().hits;
    scene.seam.arm({ process: 'keeper', call: 'sendmsg', how: 'ENOBUFS', place: 'local' }, { first, most: 2 });
    const { round, committed } = await scene.upgrade();
    assert.equal(
      { committed, hits: hits(), ...round.endings },
      { committed: true, hits: 2, whole: 8, refused: 0, cut: 0 },
    );
    assert.equal(round.faults, []);
  }
  scene.seam.disarm();
});

test(`${engine.label}: the last word of a worker that can not be said at once is said before it ends`, async () => {
  const { proxy, seam } = scene;
  const from = proxy.log.lines.length;
  // All that a worker without sessions says when it is told to drain is that it has.
  seam.arm({ call: 'sendmsg', how: 'ENOBUFS', place: 'local' }, { first: 1, most: 3 });
  process.kill(proxy.keeperPid, 'SIGTERM');
  const { reason } = await proxy.log.waitFor({ event: 'worker', worker_state: 'dead' }, { from });
  assert.equal({ reason, hits: seam.disarm().hits }, { reason: 'drained', hits: 3 });
});
