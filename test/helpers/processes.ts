// SPDX-License-Identifier: MIT
// What /proc tells of the processes under test, limited to what an unprivileged user may read of a process that is not dumpable.
import { readdirSync, readFileSync } from 'node:fs';
import { timeFactor } from './time.ts';

/** Pids of the children of `pid`, their children and so on. */
export function descendants(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = statusField(Number(name), 'PPid');
    if (parent !== undefined) parents.set(Number(name), parent);
  }
  const found: number[] = [];
  for (let level = [pid]; level.length > 0; ) {
    level = [...parents].filter(([, parent]) => level.includes(parent)).map(([child]) => child);
    found.push(...level);
  }
  return found;
}

/** Waits until all threads of a process sleep: then they have taken whatever they had been told. */
export async function atRest(pid: number): Promise<void> {
  while (isAlive(pid) && !isAsleep(pid)) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** False for a process that is gone or a zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

/** Those of `pids` that are still alive after a moment: a process closes its descriptors, by which its end is seen, before it is gone. */
export async function survivors(pids: readonly number[]): Promise<number[]> {
  const until = performance.now() + 10_000 * timeFactor;
  while (pids.some(isAlive) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 5));
  return pids.filter(isAlive);
}

/** Whether every thread of it sleeps: none works, and none waits for a core. True of a process that is gone. */
export function isAsleep(pid: number): boolean {
  const sleeps = (thread: string): boolean =>
    /^State:\s+S/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'));
  try {
    return readdirSync(`/proc/${pid}/task`).every((thread) => {
      try {
        return sleeps(thread);
      } catch {
        return true; // ended meanwhile
      }
    });
  } catch {
    return true;
  }
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  return (statusField(pid, 'VmRSS') ?? 0) * 1024;
}

/** Size of the descriptor table's use, where it may be seen (root); undefined elsewhere. */
export function openFiles(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return undefined;
  }
}

/**
 * The sizes of their tables, once they have not moved for a while in which all of them were at rest: ends of sessions and processes close
 * some late.
 */
export async function settledFiles(pids: () => readonly number[]): Promise<string> {
  let last = '';
  for (let same = 0; same < 15; same++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = pids().map(openFiles).join();
    if (now !== last || !pids().every(isAsleep)) same = 0;
    last = now;
  }
  return last;
}

/** Waits until they are as many as in `base` (settledFiles) and none has more open than there; throws when that does not come. */
export async function filesAgain(pids: () => readonly number[], base: string): Promise<void> {
  const most = base.split(',').map(Number);
  for (const until = performance.now() + 10_000 * timeFactor; ; ) {
    const now = pids().map((pid) => openFiles(pid) ?? 0);
    if (now.length === most.length && now.every((files, i) => files <= (most[i] ?? 0))) return;
    if (performance.now() > until) throw new Error(`${now} descriptors, in the beginning ${base}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether the pauses before a process was started again have grown to `last`, each twice the one before. */
export function doubled(delays: readonly number[], last: number): boolean {
  const [third, second, first] = delays.slice(-3).reverse();
  return third === last && second === last / 2 && first === last / 4;
}

/** CPU time used so far, user and system, in seconds. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Real user and group. */
export function userOf(pid: number): { readonly uid: number; readonly gid: number } {
  return { uid: statusField(pid, 'Uid') ?? 0, gid: statusField(pid, 'Gid') ?? 0 };
}

function statusField(pid: number, name: string): number | undefined {
  try {
    const match = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
    return match === null ? undefined : Number(match[1]);
  } catch {
    return undefined;
  }
}
