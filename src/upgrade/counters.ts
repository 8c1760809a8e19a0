// SPDX-License-Identifier: MIT
// Numbers of workers that have ended, so that what is counted goes on over an upgrade.
import { counterNames } from '../native.ts';
import type { EngineCounters } from '../worker/counters.ts';

/** Those that tell how things stand, not what has happened. */
const gauges: ReadonlySet<string> = new Set([
  'connections_open',
  'connections_open_max',
  'handshakes_open',
  'sessions_open',
  'sessions_kernel_tx',
  'sessions_kernel_rx',
]);

/** What has happened in both; how things stand is as in `now`. */
export function addCounters(now: EngineCounters, before: EngineCounters | undefined): EngineCounters {
  if (before === undefined) return now;
  const entries = counterNames.map((name) => [name, now[name] + (gauges.has(name) ? 0 : (before[name] ?? 0))]);
  return Object.fromEntries(entries) as EngineCounters;
}
