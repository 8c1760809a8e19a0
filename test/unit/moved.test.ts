// SPDX-License-Identifier: MIT
import * as assert from 'uvu/assert';
import { addCounters, endedCounters, withoutOverlap } from '../../src/master/totals.ts';
import { accountFor, openByEngine } from '../../src/upgrade/moved.ts';
import type { Testimony } from '../../src/upgrade/witness.ts';
import { type EngineCounters, knownCounters } from '../../src/worker/counters.ts';
import { test } from '../helpers/suite.ts';

const pauses = { longestUs: 0, p99Us: 0 };
const worker = (alive: boolean, counters: Partial<EngineCounters>, p = pauses): Testimony => ({
  alive,
  counters: knownCounters(counters),
  pauses: p,
});

/** Moved, kept, lost. */
function outcome(donor: Testimony | undefined, ...takers: readonly Testimony[]): readonly number[] {
  const { moved, kept, lost } = accountFor(donor, takers);
  return [moved, kept, lost];
}

test('nobody dies: what was given was taken', () => {
  const donor = worker(true, { sessions_given: 10, sessions_late: 2, sessions_late_given: 1, handshakes_open: 3 });
  const counts = { sessions_taken: 10, sessions_open: 12, sessions_taken_kernel: 4, sessions_taken_kernel_tx: 2 };
  const account = accountFor(donor, [worker(true, counts, { longestUs: 900, p99Us: 800 })]);
  assert.equal([account.moved, account.kept, account.lost, account.reason], [10, 0, 0, undefined]);
  assert.equal(account.engines, { kernel: 4, userspace: 4, kernel_tx: 2, kernel_rx: 0 });
  assert.equal(account.handshakes, { finished: 2, moved: 1, open: 3 });
  assert.equal(account.pauses, { longest_us: 900, p99_us: 800 });
});

test('what an unknown version counts is not lost', () => {
  const unread = { ...worker(true, {}), unread: true };
  assert.equal(outcome(worker(true, { sessions_given: 8, sessions_open: 2 }), unread), [8, 2, 0]);
  assert.equal(outcome(unread, worker(true, { sessions_taken: 8, sessions_open: 8 })), [8, 0, 0]);
});

test('sessions that do not go are kept, with the reason', () => {
  const taker = worker(true, { sessions_taken: 8, sessions_open: 8 });
  const refused = worker(true, { sessions_given: 8, sessions_open: 2, sessions_staying: 2 });
  assert.equal(outcome(refused, taker), [8, 2, 0]);
  assert.is(accountFor(refused, [taker]).reason, 'the new worker refused 2');
  const silent = worker(true, { sessions_open: 10 });
  assert.is(accountFor(silent, [worker(true, {})]).reason, 'the new worker does not take them');
  assert.is(accountFor(silent, [worker(false, {})]).reason, 'the new worker has died');
});

test('the new worker dies: what it owned is lost, also what it had no time to count, and nothing twice', () => {
  const donor = worker(true, { sessions_given: 6, sessions_open: 4 });
  assert.equal(outcome(donor, worker(false, { sessions_taken: 6, sessions_open: 6 })), [0, 4, 6]);
  // Two had ended there in order.
  assert.equal(outcome(donor, worker(false, { sessions_taken: 6, sessions_open: 4 })), [2, 4, 4]);
  // It had answered for 6, and counted 5.
  assert.equal(outcome(donor, worker(false, { sessions_taken: 5, sessions_open: 5 })), [0, 4, 6]);
  const second = worker(true, {});
  assert.equal(outcome(donor, worker(false, { sessions_taken: 6, sessions_open: 6 }), second), [0, 4, 6]);
});

test('the old worker dies: what it had not given is lost, and not what the new one found in the pair', () => {
  const donor = worker(false, { sessions_given: 6, sessions_open: 4 });
  assert.equal(outcome(donor, worker(true, { sessions_taken: 6, sessions_open: 6 })), [6, 0, 4]);
  assert.equal(outcome(donor, worker(true, { sessions_taken: 9, sessions_open: 9 })), [9, 0, 1]);
  assert.equal(outcome(donor, worker(true, { sessions_taken: 10, sessions_open: 10 })), [10, 0, 0]);
});

test('both die', () => {
  const donor = worker(false, { sessions_given: 6, sessions_open: 4 });
  assert.equal(outcome(donor, worker(false, { sessions_taken: 6, sessions_open: 6 })), [0, 0, 10]);
});

test('an old worker that has ended in order has lost nothing', () => {
  const donor = worker(false, { sessions_given: 10 });
  assert.equal(outcome(donor, worker(true, { sessions_taken: 10, sessions_open: 10 })), [10, 0, 0]);
  assert.equal(outcome(undefined, worker(true, {})), [0, 0, 0]);
});

test('totals: what has happened adds up, what is open is of those that live, a peak is the highest', () => {
  const old = knownCounters({ sessions_total: 5, sessions_open: 2, connections_open_max: 7, handoffs_open: 2 });
  const now = knownCounters({ sessions_total: 3, sessions_open: 3, connections_open_max: 4 });
  const { sessions_total, sessions_open, connections_open_max } = addCounters(now, old);
  assert.equal([sessions_total, sessions_open, connections_open_max], [8, 5, 7]);
  const ended = endedCounters(old);
  assert.equal([ended.sessions_total, ended.sessions_open, ended.connections_open_max], [5, 0, 7]);
  assert.is(ended.handoffs_open, 0);
});

test('a session on its way, which both count for a moment, counts once', () => {
  const kinds = { sessions_kernel: 2, sessions_kernel_tx: 3, sessions_kernel_rx: 2 };
  const donor = knownCounters({ sessions_open: 5, connections_open: 6, sessions_given: 1, ...kinds });
  const taken = { sessions_taken: 4, sessions_taken_kernel: 1, sessions_taken_kernel_tx: 1 };
  const ofThem = { sessions_kernel: 1, sessions_kernel_tx: 2, sessions_kernel_rx: 1 };
  const recipient = knownCounters({ sessions_open: 4, connections_open: 4, ...taken, ...ofThem });
  const sum = withoutOverlap(addCounters(donor, recipient), donor, recipient);
  assert.equal([sum.sessions_open, sum.connections_open], [6, 7]);
  assert.equal(openByEngine(sum), { kernel: 2, userspace: 3, kernel_tx: 1, kernel_rx: 0 });
});

test('a session on its way, which none counts for a moment, counts as well', () => {
  const donor = knownCounters({ sessions_open: 2, connections_open: 2, sessions_given: 8 });
  const counts = { sessions_open: 5, connections_open: 8, sessions_taken: 5 };
  const taking = knownCounters({ ...counts, handoffs_open: 2 });
  const sum = withoutOverlap(addCounters(donor, taking), donor, taking);
  assert.equal([sum.sessions_open, sum.connections_open], [10, 10]);
  // Later no session is on its way any more.
  const over = knownCounters(counts);
  assert.is(withoutOverlap(addCounters(donor, over), donor, over).sessions_open, 7);
});
