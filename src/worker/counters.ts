// SPDX-License-Identifier: MIT
// The engine's numbers by name.
import { counterNames, type Engine } from '../native.ts';

/** bytes may pass 2^53 in years only, so plain numbers do. */
export type EngineCounters = Readonly<Record<(typeof counterNames)[number], number>>;

export function readCounters(engine: Engine): EngineCounters {
  const values = new BigUint64Array(counterNames.length);
  engine.snapshot(values);
  const entries = counterNames.map((name, index) => [name, Number(values[index])]);
  return Object.fromEntries(entries) as EngineCounters;
}

/** Numbers of any version: those that it does not count are 0, those that we don't know are left out. */
export function knownCounters(numbers: Readonly<Record<string, number>>): EngineCounters {
  return Object.fromEntries(counterNames.map((name) => [name, numbers[name] ?? 0])) as EngineCounters;
}
