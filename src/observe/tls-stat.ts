// SPDX-License-Identifier: MIT
// Readings of /proc/net/tls_stat, what has changed between two of them, and what looks wrong. Needs no rights.
import { readFileSync, readlinkSync } from 'node:fs';
import { explainAbsence, kernelPlaces, type TlsPlaces } from './tls-module.ts';
import { tlsStatLines } from './tls-stat-lines.ts';

export interface TlsReading {
  readonly time: Date;
  /** `net:[4026531840]`: each network namespace has counts of its own. */
  readonly namespace: string;
  /** By name, in the kernel's order. */
  readonly values: ReadonlyMap<string, number>;
  /** Lines that are no name and number. */
  readonly strange: readonly string[];
}

export interface TlsChange {
  /** Name to difference; a line that has come meanwhile counts from 0. */
  readonly values: ReadonlyMap<string, number>;
  readonly seconds: number;
}

/** A reading and, from the second one on, what has changed since the one before and since the first. */
export interface TlsView {
  readonly reading: TlsReading;
  readonly sinceLast?: TlsChange;
  readonly sinceStart?: TlsChange;
  /** The counters began anew: the module was loaded again. */
  readonly restarted: boolean;
}

export interface TlsTrouble {
  readonly name: string;
  readonly count: number;
  readonly text: string;
}

/** Throws SystemError when there is nothing to read: why, and what to do. */
export function readTlsStat(places: TlsPlaces = kernelPlaces): TlsReading {
  let text: string;
  try {
    text = readFileSync(places.stat, 'latin1');
  } catch (error) {
    throw explainAbsence(error as NodeJS.ErrnoException, places);
  }
  return { time: new Date(), namespace: namespaceOf(places), ...parseTlsStat(text) };
}

/** Takes the text of the file; invents nothing for lines that it can't read. */
export function parseTlsStat(text: string): Pick<TlsReading, 'values' | 'strange'> {
  const values = new Map<string, number>();
  const strange: string[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\S+)\s+(\d+)\s*$/.exec(line);
    const [, name, digits] = match ?? [];
    // Unsigned sums over the CPUs: a gauge that was taken down once too often is 2^64 - 1, that is -1.
    if (name !== undefined && digits !== undefined) values.set(name, Number(BigInt.asIntN(64, BigInt(digits))));
    else if (line.trim() !== '') strange.push(line);
  }
  return { values, strange };
}

/** Puts readings of one file, in their order, into relation. */
export class TlsHistory {
  #first: TlsReading | undefined;
  #last: TlsReading | undefined;

  next(reading: TlsReading): TlsView {
    const last = this.#last;
    const restarted = last !== undefined && hasRestarted(reading, last);
    if (restarted) this.#first = undefined;
    this.#first ??= reading;
    this.#last = reading;
    if (last === undefined || restarted) return { reading, restarted };
    return { reading, restarted, sinceLast: change(reading, last), sinceStart: change(reading, this.#first) };
  }
}

/** What looks wrong, in the kernel's order: in the changes since the start where there are any, else in all that was ever counted. */
export function troublesOf({ reading, sinceStart }: TlsView): TlsTrouble[] {
  const counts = sinceStart?.values ?? reading.values;
  const found: TlsTrouble[] = [];
  for (const [name, { trouble }] of tlsStatLines) {
    const count = counts.get(name) ?? 0;
    if (trouble !== undefined && count > 0) found.push({ name, count, text: trouble });
  }
  const waiting = (counts.get('TlsRxRekeyReceived') ?? 0) - (counts.get('TlsRxRekeyOk') ?? 0);
  if (waiting > 0) {
    const text = 'KeyUpdates without new keys: those connections have ended, or read nothing until they get them';
    found.push({ name: 'TlsRxRekeyReceived', count: waiting, text });
  }
  return found;
}

function hasRestarted({ values }: TlsReading, before: TlsReading): boolean {
  const counters = [...before.values].filter(([name]) => tlsStatLines.get(name)?.kind === 'counter');
  return counters.some(([name, value]) => (values.get(name) ?? 0) < value);
}

function change(reading: TlsReading, before: TlsReading): TlsChange {
  const differences = [...reading.values].map(
    ([name, value]) => [name, value - (before.values.get(name) ?? 0)] as const,
  );
  return { values: new Map(differences), seconds: (reading.time.getTime() - before.time.getTime()) / 1000 };
}

function namespaceOf({ namespace }: TlsPlaces): string {
  try {
    return readlinkSync(namespace);
  } catch {
    return 'unknown'; // a /proc that hides it
  }
}
