// SPDX-License-Identifier: MIT
// Where the log goes: one description that keeper, master and worker share, and that survives the master.
import { openSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import type { Keeper } from './keeper.ts';

const heldName = 'log';

/** Starts logging. Gives the descriptor for workers. */
export function openLog({ logFile, logLevel }: Config, keeper: Keeper): number {
  const held = keeper.held.get(heldName);
  const fd = held ?? openLogFile(logFile);
  if (held === undefined) keeper.put(heldName, fd);
  native.openLog({ fd: native.duplicateFd({ fd }), level: logLevel, processType: 'master' });
  return fd;
}

/** The file anew, after somebody has moved the old one away. Undefined for stdout and stderr, which can't be. */
export function reopenLog({ logFile }: Config, keeper: Keeper): number | undefined {
  if (logFile === 'stdout' || logFile === 'stderr') return undefined;
  return changeLog(logFile, keeper);
}

/** To another file, or to the same anew. Gives the descriptor for workers. */
export function changeLog(file: string, keeper: Keeper): number {
  const fd = openLogFile(file);
  keeper.put(heldName, fd);
  native.reopenLog({ fd: native.duplicateFd({ fd }) });
  return fd;
}

function openLogFile(file: string): number {
  if (file === 'stdout') return native.duplicateFd({ fd: 1 });
  if (file === 'stderr') return native.duplicateFd({ fd: 2 });
  try {
    return openSync(file, 'a', 0o640);
  } catch (cause) {
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    throw new SystemError(`can't open the log ${file}: ${message}`, { code, cause });
  }
}
