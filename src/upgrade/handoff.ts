// SPDX-License-Identifier: MIT
// The established sessions' part of an upgrade. It comes when the other worker serves already, so that there is nothing to hand back:
// what can't be moved stays where it is, and the old worker ends with the last of it.
import type { Workers } from '../master/workers.ts';
import type { HandoffStep } from '../worker/handoff-step.ts';
import type { Moved } from './report.ts';
import type { Standby } from './standby.ts';

/** What a check tells: all that are open could move. */
export async function countSessions(workers: Workers): Promise<Moved> {
  const counters = await workers.counters();
  return { moved: 0, kept: counters?.sessions_open ?? 0, lost: 0 };
}

/** Moves the sessions of our worker to the other one's. Settles when no more go; those that come later follow by themselves. */
export async function moveSessions(workers: Workers, standby: Standby, pauseAt?: HandoffStep): Promise<Moved> {
  const { moved, kept } = await workers.give((fds) => standby.send({ type: 'take', pauseAt }, fds), pauseAt);
  return { moved, kept, lost: 0, ...(kept > 0 ? { reason: 'they end in the old worker' } : {}) };
}
