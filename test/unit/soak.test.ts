// SPDX-License-Identifier: MIT
// scripts/soak: what it calls flat, and what it says of a history in which something went wrong.
import * as assert from 'uvu/assert';
import { History } from '../../scripts/soak.d/history.ts';
import { pageOf } from '../../scripts/soak.d/page.ts';
import type { Glance } from '../../scripts/soak.d/service.ts';
import { median, trendOf } from '../../scripts/soak.d/trend.ts';
import { verdictOf } from '../../scripts/soak.d/verdict.ts';
import { test } from '../helpers/suite.ts';

const mib = 2 ** 20;
const slack = { absolute: 4, relative: 0.1 };
const line = (count: number, y: (x: number) => number) => Array.from({ length: count }, (_, x) => ({ x, y: y(x) }));

test('what wavers is flat, what creeps is not', () => {
  const wavering = trendOf(
    line(30, (x) => 50 + 3 * Math.sin(x)),
    slack,
  );
  assert.ok(wavering.flat);
  assert.ok(Math.abs(wavering.slope) < 0.1, `${wavering.slope}`);
  const creeping = trendOf(
    line(30, (x) => 50 + 0.5 * x + 3 * Math.sin(x)),
    slack,
  );
  assert.not(creeping.flat);
  assert.ok(Math.abs(creeping.slope - 0.5) < 0.1, `${creeping.slope}`);
  assert.ok(
    trendOf(
      line(30, (x) => 80 - x),
      slack,
    ).flat,
    'less is no growth',
  );
});

test('one point that stands out is no growth, a step that stays is', () => {
  assert.ok(
    trendOf(
      line(12, (x) => (x === 11 ? 500 : 50)),
      slack,
    ).flat,
  );
  assert.not(
    trendOf(
      line(12, (x) => (x >= 6 ? 60 : 50)),
      slack,
    ).flat,
  );
  // As much as a tenth of a large number is not, as much as four of a small one.
  assert.ok(
    trendOf(
      line(12, (x) => 1000 + 8 * x),
      slack,
    ).flat,
  );
  assert.ok(
    trendOf(
      line(12, (x) => 10 + 0.3 * x),
      slack,
    ).flat,
  );
});

test('few points have a trend as well', () => {
  assert.equal(trendOf([], slack), { points: 0, slope: 0, first: 0, last: 0, flat: true });
  assert.equal(trendOf([{ x: 1, y: 7 }], slack), { points: 1, slope: 0, first: 7, last: 7, flat: true });
  assert.is(median([3, 1, 2]), 2);
  assert.is(median([4, 1, 2, 3]), 2.5);
});

const glance = (worker: number, files = 40): Glance => ({
  memory: { keeper: mib, master: 20 * mib, worker: worker * mib, leaving: 0 },
  files: { keeper: 20, master: 30, worker: files, leaving: 0 },
  ...{ processes: 3, sessions: 0, connections: 0, pauses: 0, accepted: 0 },
});

/** Ten quiet cycles, 100 sessions, 7 of them lost with a worker that was killed. */
function calmHistory(): History {
  const history = new History(16);
  history.glance(glance(30), 'base');
  for (let cycle = 0; cycle < 10; cycle++) {
    for (const point of ['full', 'calm'] as const) history.glances.push({ at: 60 * cycle, point, ...glance(40) });
  }
  history.glance(glance(35), 'end');
  history.cycles = 10;
  history.quietCpu.end = 0.001;
  history.kills.push({ at: 300, told: 7, least: 6, most: 8 });
  history.finish({
    ...{ crowd: [], visitors: [], sessions: 100, counters: undefined, ended: 93, reasons: {} },
    ...{ workersDied: 1, mastersDied: 0, lost: { certain: 6, all: 8 } },
    ...{ logBytes: 0, strange: [], strangeCount: 0 },
  });
  return history;
}

const wrong = (history: History): string[] =>
  verdictOf(history)
    .checks.filter(({ right }) => !right)
    .map(({ name }) => name);

test('a soak in which all went well', () => {
  const verdict = verdictOf(calmHistory());
  assert.ok(verdict.right, JSON.stringify(verdict, null, 1));
});

test('the page names who was killed and how busy the machine was', () => {
  const history = calmHistory();
  history.mastersKilled = 2;
  const noise = { loadAverage: 4.5, steal: 0.01, idle: 0.25 };
  const page = pageOf(history, verdictOf(history), 'here', noise);
  assert.match(page, '1 worker and 2 masters killed');
  assert.match(page, 'machine: load average 4.50, 1.0 % stolen, 25.0 % idle');
});

test('each thing that goes wrong is told', () => {
  const spoilt = (spoil: (history: History) => void): string[] => {
    const history = calmHistory();
    spoil(history);
    assert.not(verdictOf(history).right);
    return wrong(history);
  };
  const upgrade = { at: 1, ms: 1, moved: 1, kept: 0, lost: 0, reason: '', longestPauseUs: 1 };
  const handshakes = { finished: 0, moved: 0, open: 0 };
  assert.equal(
    spoilt((history) => history.upgrades.push({ ...upgrade, handshakes, lost: 1 })),
    ['upgrades lost nothing'],
  );
  assert.equal(
    spoilt((history) => history.upgrades.push({ ...upgrade, handshakes, kept: 1 })),
    ['nothing stayed behind'],
  );
  assert.equal(
    spoilt((history) => history.fault('bulk', 'other bytes')),
    ['clients saw what they should'],
  );
  const spoiltKill = { at: 300, told: 7, least: 8, most: 8 };
  assert.equal(
    spoilt(({ kills }) => kills.splice(0, 1, spoiltKill)),
    ['killed workers cost their own sessions alone'],
  );
  assert.equal(
    spoilt(({ ending }) => Object.assign(ending ?? {}, { lost: { certain: 6, all: 9 } })),
    ['no session was cut but by a kill'],
  );
  assert.equal(
    spoilt(({ ending }) => Object.assign(ending ?? {}, { workersDied: 2 })),
    ['nobody died who was not killed'],
  );
  assert.equal(
    spoilt(({ ending }) => Object.assign(ending ?? {}, { sessions: 101 + 16 })),
    ['every session is accounted for'],
  );
  assert.equal(
    spoilt(({ quietCpu }) => {
      quietCpu.end = 0.5;
    }),
    ['nothing spins without traffic'],
  );
  assert.equal(
    spoilt((history) => history.glances.splice(-1, 1, { at: 700, point: 'end', ...glance(35, 50) })),
    ['worker, descriptors back at base'],
  );
  assert.equal(
    spoilt((history) => {
      history.ending = undefined;
    }),
    ['the soak came to its end'],
  );
});

test('memory that creeps from cycle to cycle is told', () => {
  const history = calmHistory();
  for (const [i, each] of history.glances.entries()) {
    if (each.point === 'calm') history.glances[i] = { ...each, ...glance(40 + each.at / 60) };
  }
  const growing = verdictOf(history).flat.filter(({ trend }) => !trend.flat);
  assert.equal(
    growing.map(({ name }) => name),
    ['worker, memory'],
  );
});
