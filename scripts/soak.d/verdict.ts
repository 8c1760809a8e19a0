// SPDX-License-Identifier: MIT
// What a soak's history says: a row for everything that has to be flat, whole or zero.
import { quantile } from '../bench.d/delays.ts';
import type { History, SeenGlance } from './history.ts';
import type { Reading } from './probe.ts';
import { type Point, type Slack, type Trend, trendOf } from './trend.ts';

export interface FlatRow {
  readonly name: string;
  readonly unit: string;
  readonly trend: Trend;
}

export interface Check {
  readonly name: string;
  readonly right: boolean;
  readonly words: string;
}

export interface Verdict {
  readonly flat: readonly FlatRow[];
  readonly checks: readonly Check[];
  readonly right: boolean;
}

const mib = 2 ** 20;
/** Cycles before a process has all that it ever needs, and the machine its caches. */
const warmUp = 1;
/** Of a core; what a process takes that waits. */
const mostQuietCpu = 0.02;
/** A freed heap stays with the process. */
const endSlack = { keeper: mib, master: 16 * mib, worker: 24 * mib } as const;

export function verdictOf(history: History): Verdict {
  const flat = flatRows(history);
  const checks = [...lossChecks(history), ...killChecks(history), ...endChecks(history)];
  return { flat, checks, right: flat.every(({ trend }) => trend.flat) && checks.every(({ right }) => right) };
}

/** Points that are left when the first cycles are not looked at, where enough remain. */
function settled<T>(points: readonly T[]): readonly T[] {
  return points.length > warmUp + 2 ? points.slice(warmUp) : points;
}

function flatRows(history: History): FlatRow[] {
  const at = (point: SeenGlance['point'], value: (glance: SeenGlance) => number): Point[] =>
    settled(history.glances.filter((glance) => glance.point === point)).map((glance) => {
      return { x: glance.at / 60, y: value(glance) };
    });
  const row = (name: string, unit: string, points: Point[], slack: Slack) => ({
    name,
    unit,
    trend: trendOf(points, slack),
  });
  const memory = { absolute: 4, relative: 0.1 };
  const files = { absolute: 3, relative: 0 };
  return [
    row(
      'keeper, memory',
      'MiB',
      at('calm', ({ memory: { keeper } }) => keeper / mib),
      { absolute: 0.5, relative: 0.1 },
    ),
    row(
      'master, memory',
      'MiB',
      at('calm', ({ memory: { master } }) => master / mib),
      memory,
    ),
    row(
      'worker, memory',
      'MiB',
      at('calm', ({ memory: { worker } }) => worker / mib),
      memory,
    ),
    row(
      'worker, memory at the limit',
      'MiB',
      at('full', ({ memory: { worker } }) => worker / mib),
      memory,
    ),
    row(
      'keeper, descriptors',
      '',
      at('calm', ({ files: { keeper } }) => keeper),
      files,
    ),
    row(
      'master, descriptors',
      '',
      at('calm', ({ files: { master } }) => master),
      files,
    ),
    // Two for each visitor who happens to be there.
    row(
      'worker, descriptors',
      '',
      at('calm', ({ files: { worker } }) => worker),
      { absolute: 40, relative: 0.05 },
    ),
    row(
      'processes',
      '',
      at('calm', ({ processes }) => processes),
      { absolute: 0, relative: 0 },
    ),
    row(
      'sessions',
      '',
      at('calm', ({ sessions }) => sessions),
      { absolute: 20, relative: 0.05 },
    ),
    ...latencyRows(history),
  ];
}

function latencyRows(history: History): FlatRow[] {
  const kinds: [string, readonly Reading[]][] = [
    ['small request', history.requests],
    ['fresh handshake', history.handshakes],
  ];
  return kinds.flatMap(([name, readings]) =>
    [0.5, 0.99].map((part) => {
      const points = settled(history.calm).map(({ from, to }) => {
        const own = readings.filter(({ at }) => at >= from && at < to).map(({ us }) => us / 1000);
        return { x: (from - history.started) / 60_000, y: quantile(own, part) };
      });
      const slack = part === 0.5 ? { absolute: 0.5, relative: 0.5 } : { absolute: 10, relative: 1 };
      return { name: `${name}, p${part * 100}`, unit: 'ms', trend: trendOf(points, slack) };
    }),
  );
}

function check(name: string, right: boolean, words: string): Check {
  return { name, right, words };
}

function lossChecks({ upgrades, ending, faults, cycles, notFull, kills }: History): Check[] {
  if (ending === undefined) return [check('the soak came to its end', false, 'it did not')];
  const all = [...faults, ...ending.visitors.flatMap((each) => each.faults)];
  const { length } = all;
  const lost = sum(upgrades, ({ lost }) => lost);
  const kept = sum(upgrades, ({ kept }) => kept);
  const excused = sum(kills, ({ most }) => most);
  const cut = ending.lost.all - excused;
  return [
    check('clients saw what they should', length === 0, `${sum(ending.visitors, doneOf)} visits, ${length} faults`),
    check('the limit was reached', notFull === 0, `in ${cycles - notFull} of ${cycles} cycles`),
    check('upgrades lost nothing', lost === 0, `${upgrades.length} upgrades, ${lost} sessions lost`),
    check('nothing stayed behind', kept === 0, `${kept} sessions stayed in an old worker`),
    check('no session was cut but by a kill', cut === 0, `${excused} by kills, ${cut} else`),
    check('the log has nothing strange', ending.strangeCount === 0, `${ending.strangeCount} lines`),
  ];
}

function doneOf({ done }: { readonly done: Readonly<Record<string, number>> }): number {
  return sum(Object.values(done), (each) => each);
}

/**
 * A worker's last closing lines die with it, and visitors who end by themselves when it is killed miss nothing: as many as there are at a
 * time may be told by one side alone.
 */
function killChecks({ kills, ending, mastersKilled, visitors }: History): Check[] {
  if (ending === undefined) return [];
  const agreed = kills.filter(({ told, least, most }) => told >= least && told <= most + visitors).length;
  const told = sum(kills, (kill) => kill.told);
  const unsaid = ending.sessions - ending.ended - told;
  const right = unsaid >= 0 && unsaid <= kills.length * visitors;
  const { workersDied, mastersDied } = ending;
  const asKilled = workersDied === kills.length && mastersDied === mastersKilled;
  const words = `${workersDied} workers, ${mastersDied} masters; killed ${kills.length} and ${mastersKilled}`;
  return [
    check('nobody died who was not killed', asKilled, words),
    check(
      'killed workers cost their own sessions alone',
      agreed === kills.length,
      `${agreed} of ${kills.length} agree`,
    ),
    check(
      'every session is accounted for',
      right,
      `${ending.sessions} in all: ${ending.ended} closing lines, ${told} lost with ${kills.length} workers, ${unsaid} unsaid`,
    ),
  ];
}

function endChecks({ glances, quietCpu }: History): Check[] {
  const base = glances.find(({ point }) => point === 'base');
  const end = glances.find(({ point }) => point === 'end');
  if (base === undefined || end === undefined) return [check('everything is back at base', false, 'it was not seen')];
  const memory = (['keeper', 'master', 'worker'] as const).map((role) => {
    const [before, after] = [base.memory[role], end.memory[role]];
    const words = `${(before / mib).toFixed(1)} MiB at first, ${(after / mib).toFixed(1)} at the end`;
    return check(`${role}, memory back at base`, after <= before + endSlack[role], words);
  });
  const files = (['keeper', 'master', 'worker'] as const).map((role) => {
    const [before, after] = [base.files[role], end.files[role]];
    return check(`${role}, descriptors back at base`, after <= before + 2, `${before} at first, ${after} at the end`);
  });
  const cpu = quietCpu.end ?? 1;
  return [
    check('nothing spins without traffic', cpu <= mostQuietCpu, `${(cpu * 100).toFixed(2)} % of a core`),
    check('processes back at base', end.processes === base.processes, `${base.processes}, then ${end.processes}`),
    ...memory,
    ...files,
  ];
}

function sum<T>(of: readonly T[], value: (each: T) => number): number {
  return of.reduce((all, each) => all + value(each), 0);
}
