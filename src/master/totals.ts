// SPDX-License-Identifier: MIT
// What several workers count, as one: during an upgrade the old one and the new one, and those that have ended.
import { counterNames } from '../native.ts';
import type { EngineCounters } from '../worker/counters.ts';

/** Those that tell how things stand, not what has happened. */
const gauges = [
  'connections_open',
  'handshakes_open',
  'sessions_open',
  'sessions_kernel_tx',
  'sessions_kernel_rx',
  'sessions_kernel',
  'sessions_staying',
  'handoffs_open',
  'session_slots',
  'buffer_blocks',
] as const satisfies readonly (keyof EngineCounters)[];

const isGauge: ReadonlySet<string> = new Set(gauges);
/** Of these the highest counts. */
const isPeak: ReadonlySet<string> = new Set(['connections_open_max']);

export function addCounters(a: EngineCounters, b: EngineCounters | undefined): EngineCounters {
  if (b === undefined) return a;
  const sum = (name: keyof EngineCounters): number => {
    const [left, right] = [a[name], b[name] ?? 0];
    return isPeak.has(name) ? Math.max(left, right) : left + right;
  };
  return Object.fromEntries(counterNames.map((name) => [name, sum(name)])) as EngineCounters;
}

/** Of a worker that has ended: what has happened stays, nothing is open any more. */
export function endedCounters(counters: EngineCounters): EngineCounters {
  const entries = counterNames.map((name) => [name, isGauge.has(name) ? 0 : counters[name]]);
  return Object.fromEntries(entries) as EngineCounters;
}

/**
 * Sessions that the one worker owns already, and the other one has not yet crossed out, must not count twice; those that it has crossed
 * out, and the new owner has not yet counted, must count. A donor that has ended has nothing open.
 */
export function withoutOverlap(sum: EngineCounters, donor: EngineCounters, recipient: EngineCounters): EngineCounters {
  const between = (taken: keyof EngineCounters, given: keyof EngineCounters): number => {
    const ahead = recipient[taken] - donor[given];
    if (ahead < 0) return recipient.handoffs_open > 0 ? ahead : 0;
    return Math.min(ahead, donor.sessions_open);
  };
  const kernel = between('sessions_taken_kernel', 'sessions_given_kernel');
  const all = between('sessions_taken', 'sessions_given');
  return {
    ...sum,
    // The new owner counts connections before it answers.
    connections_open: sum.connections_open - Math.max(0, all),
    sessions_open: sum.sessions_open - all,
    sessions_kernel: sum.sessions_kernel - kernel,
    sessions_kernel_tx:
      sum.sessions_kernel_tx - kernel - between('sessions_taken_kernel_tx', 'sessions_given_kernel_tx'),
    sessions_kernel_rx:
      sum.sessions_kernel_rx - kernel - between('sessions_taken_kernel_rx', 'sessions_given_kernel_rx'),
  };
}
