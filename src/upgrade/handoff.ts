// SPDX-License-Identifier: MIT
// The established sessions' part of an upgrade. It comes when the other worker serves already, so that there is nothing to hand back:
// what can't be moved stays where it is, and the old worker ends with the last of it.
import { setTimeout as wait } from 'node:timers/promises';
import type { Workers } from '../master/workers.ts';
import { failure, log } from '../observe/log.ts';
import type { HandoffStep } from '../worker/handoff-step.ts';
import { accountFor, type Moved } from './moved.ts';
import type { Standby } from './standby.ts';
import type { Testimony, Witness } from './witness.ts';

const pollMs = 5;
/** For the first session to move, and for the next: longer than a worker takes to give up (src/worker/worker.ts). */
const firstLimitMs = 13_000;
const stuckLimitMs = 5_000;
/** For the books of both sides to agree. */
const settleLimitMs = 1_000;

/** Moves the sessions of our worker, `donor`, to the other one's. Settles when no more go; those that come later follow by themselves. */
export async function moveSessions(
  workers: Workers,
  standby: Standby,
  donor: Witness | undefined,
  pauseAt?: HandoffStep,
): Promise<Moved> {
  const forward = (fds: readonly number[]): void => {
    try {
      standby.send({ type: 'take', donor: donor?.id ?? 0, pauseAt }, fds);
    } catch (error) {
      // Our worker sees that nobody has the other ends, and gives up.
      log('error', 'system_error', failure('the new version can not be told of the sessions', error));
    }
  };
  const given = workers.give(forward, pauseAt);
  let over = false;
  const refusal = await Promise.race([
    given,
    donor === undefined ? given : untilStuck(donor, () => over, firstLimitMs),
  ]);
  over = true;
  const sessions = await settledAccount(donor, () => standby.takers);
  return sessions.kept > 0 && refusal !== '' ? { ...sessions, reason: refusal } : sessions;
}

/** What the workers' books say when they agree, or after a while. */
export async function settledAccount(donor: Witness | undefined, takers: () => readonly Witness[]): Promise<Moved> {
  for (const since = performance.now(); ; await wait(pollMs)) {
    const now = takers().map((taker) => taker.read());
    const from = donor?.read();
    if (agree(from, now) || performance.now() - since > settleLimitMs) return accountFor(from, now);
  }
}

/** Where one side is dead, the other one has to see its end first: it may find a last batch that is its own. */
function agree(donor: Testimony | undefined, takers: readonly Testimony[]): boolean {
  const livingTakers = takers.filter(({ alive }) => alive);
  if (donor?.alive === true && livingTakers.length > 0) {
    // A pair that the donor has left and the other side has not: that side may be dead, and nobody has told us yet.
    if (sum(livingTakers, 'handoffs_open') > donor.counters.handoffs_open) return false;
    return donor.counters.sessions_given === sum(takers, 'sessions_taken');
  }
  const living = donor?.alive === true ? [donor] : livingTakers;
  return living.every(({ counters }) => counters.handoffs_open === 0);
}

function sum(takers: readonly Testimony[], counter: 'sessions_taken' | 'handoffs_open'): number {
  return takers.reduce((all, { counters }) => all + counters[counter], 0);
}

/** Settles when no session has gone for a while, or when it is `over`. `firstMs`: how long the first one may take. */
export async function untilStuck(
  donor: Witness,
  over: (now: Testimony) => boolean,
  firstMs = stuckLimitMs,
): Promise<string> {
  let last = donor.read().counters.sessions_given;
  let limitMs = firstMs;
  for (let movedAt = performance.now(); performance.now() - movedAt < limitMs; await wait(pollMs)) {
    const now = donor.read();
    if (over(now)) break;
    if (now.counters.sessions_given > last) {
      movedAt = performance.now();
      limitMs = stuckLimitMs;
    }
    last = now.counters.sessions_given;
  }
  return '';
}
