// SPDX-License-Identifier: MIT
// What became of the sessions of an upgrade, worked out from what the workers have counted: the one that gave them and those that the
// other version has started. Each session is told once, whoever dies.
import type { EngineCounters } from '../worker/counters.ts';
import type { Testimony } from './witness.ts';

/** Sessions by who carries them. */
export interface ByEngine {
  /** Both directions. */
  readonly kernel: number;
  readonly userspace: number;
  /** Only towards the client, only from it. */
  readonly kernel_tx: number;
  readonly kernel_rx: number;
}

/** Connections whose handshake was under way when the old worker left its listeners. */
export interface Handshakes {
  /** Ended it there, and of these those that have moved since. */
  readonly finished: number;
  readonly moved: number;
  /** Are still at it; they follow by themselves. */
  readonly open: number;
}

/** What became of the established sessions. */
export interface Moved {
  readonly moved: number;
  /** Of those that have moved. */
  readonly engines: ByEngine;
  /** Go on in the old worker, which ends with the last of them. */
  readonly kept: number;
  /** Why sessions were kept. */
  readonly reason?: string | undefined;
  /** Were a worker's that died. */
  readonly lost: number;
  readonly handshakes: Handshakes;
  /** How long sessions stood still, in microseconds. */
  readonly pauses: { readonly longest_us: number; readonly p99_us: number };
}

export function openByEngine(counters: EngineCounters): ByEngine {
  const { sessions_open, sessions_kernel, sessions_kernel_tx, sessions_kernel_rx } = counters;
  return splitByEngine(sessions_open, {
    kernel: sessions_kernel,
    kernel_tx: sessions_kernel_tx - sessions_kernel,
    kernel_rx: sessions_kernel_rx - sessions_kernel,
  });
}

/** The rest is userspace's. The threads are not asked at the same instant: no part is below zero. */
function splitByEngine(all: number, parts: Omit<ByEngine, 'userspace'>): ByEngine {
  const [kernel, tx, rx] = [parts.kernel, parts.kernel_tx, parts.kernel_rx].map((part) => Math.max(0, part));
  const known = { kernel: kernel ?? 0, kernel_tx: tx ?? 0, kernel_rx: rx ?? 0 };
  const userspace = Math.max(0, all - known.kernel - known.kernel_tx - known.kernel_rx);
  return { kernel: known.kernel, userspace, kernel_tx: known.kernel_tx, kernel_rx: known.kernel_rx };
}

/** `donor`: undefined where the old worker died before it could give. */
export function accountFor(donor: Testimony | undefined, takers: readonly Testimony[]): Moved {
  const given = donor?.counters.sessions_given ?? 0;
  const taken = sumOf(takers, 'sessions_taken');
  const dead = takers.filter(({ alive }) => !alive);
  const told = takers.every(({ unread }) => unread !== true);
  // A worker may die between its word that it owns a batch and its counting it.
  const uncounted = donor?.alive === false || !told ? 0 : Math.max(0, given - taken);
  const lostByTakers = sumOf(dead, 'sessions_open') + uncounted;
  // What the other one owns already, the dead one had no time to cross out.
  const crossed = Math.max(0, taken - given);
  const lostByDonor = donor?.alive === false ? Math.max(0, donor.counters.sessions_open - crossed) : 0;
  const moved = Math.max(0, Math.max(given, taken) - lostByTakers);
  const kept = donor?.alive ? donor.counters.sessions_open : 0;
  return {
    moved,
    engines: movedByEngine(moved, takers, dead),
    kept,
    ...(kept > 0 ? { reason: whyKept(donor?.counters, takers) } : {}),
    lost: lostByTakers + lostByDonor,
    handshakes: {
      finished: donor?.counters.sessions_late ?? 0,
      moved: donor?.counters.sessions_late_given ?? 0,
      open: donor?.alive ? donor.counters.handshakes_open : 0,
    },
    pauses: {
      longest_us: Math.max(0, ...takers.map(({ pauses }) => pauses.longestUs)),
      p99_us: Math.max(0, ...takers.map(({ pauses }) => pauses.p99Us)),
    },
  };
}

function movedByEngine(moved: number, takers: readonly Testimony[], dead: readonly Testimony[]): ByEngine {
  const lost = dead.map(({ counters }) => openByEngine(counters));
  const part = (name: 'kernel' | 'kernel_tx' | 'kernel_rx'): number =>
    sumOf(takers, `sessions_taken_${name}`) - lost.reduce((sum, each) => sum + each[name], 0);
  return splitByEngine(moved, { kernel: part('kernel'), kernel_tx: part('kernel_tx'), kernel_rx: part('kernel_rx') });
}

function whyKept(counters: EngineCounters | undefined, takers: readonly Testimony[]): string {
  const refused = counters?.sessions_staying ?? 0;
  if (refused > 0) return refused === 1 ? 'the new worker refused one' : `the new worker refused ${refused}`;
  return takers.some(({ alive }) => alive) ? 'the new worker does not take them' : 'the new worker has died';
}

function sumOf(testimonies: readonly Testimony[], name: keyof EngineCounters): number {
  return testimonies.reduce((sum, { counters }) => sum + counters[name], 0);
}
