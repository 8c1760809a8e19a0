// SPDX-License-Identifier: MIT
// Who runs on which core, and who comes first there.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** Cores of the subjects and of the load; the same where there is only one. */
export const subjectCore = 0;
export const loadCore = availableParallelism() > 1 ? 1 : 0;

/** Put before a command, it has it and its descendants run on this core alone. */
export function onCore(core: number): readonly string[] {
  return ['taskset', '-c', String(core)];
}

let comesFirst = false;

/**
 * Whether subjects and load come before all other programs of the machine, where the kernel shares cores among sessions (sched(7),
 * autogroups) and we are root. A busy machine disturbs less, then, and is disturbed.
 */
export function comeFirst(whether: boolean): void {
  comesFirst = whether;
}

/** Has a process that has just started come first, with its session. Who comes first within the session stays as it is. */
export function putFirst(pid: number): void {
  if (!comesFirst) return;
  try {
    writeFileSync(`/proc/${pid}/autogroup`, '-20');
  } catch {
    // No autogroups, or not for us to set.
  }
}

/**
 * How the load's programs share their core: `first` always comes first, `last` only when no other wants it. All of them have their
 * usual turn where we don't come first: beside other programs the last would never have one.
 */
export type Turn = 'first' | 'usual' | 'last';

const hasRealTime = (() => {
  try {
    execFileSync('chrt', ['-f', '10', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** Put before a command. */
export function withTurn(turn: Turn): readonly string[] {
  if (!comesFirst) return [];
  if (turn === 'first' && hasRealTime) return ['chrt', '-f', '10'];
  return turn === 'last' ? ['chrt', '-i', '0'] : [];
}

/** The same for a process that runs. */
export function setTurn(pid: number, turn: 'first' | 'usual'): void {
  if (!comesFirst || !hasRealTime) return;
  const policy = turn === 'first' ? ['-f', '-p', '10'] : ['-o', '-p', '0'];
  execFileSync('chrt', [...policy, String(pid)], { stdio: 'ignore' });
}
