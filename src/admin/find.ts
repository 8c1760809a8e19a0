// SPDX-License-Identifier: MIT
// Which service a command means: the one behind a given socket, the one of a configuration file, or the only one that runs.
import { rmSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { readConfig } from '../config/load.ts';
import { SystemError, UsageError } from '../errors.ts';
import type { Status } from '../master/status.ts';
import { ask } from './client.ts';
import { defaultSockets, isOurs, searchedDirectories } from './places.ts';

/** One that says nothing for so long is not found, but can be named. */
const silenceMs = 2_000;

export interface ServiceChoice {
  readonly control?: string | undefined;
  /** The configuration file that it was started with. */
  readonly config?: string | undefined;
}

interface Found {
  readonly path: string;
  /** Undefined: it was started with flags. */
  readonly file: string | undefined;
  readonly stopping: boolean;
}

export function addServiceOptions(command: Command): Command {
  return command
    .option('-c, --config <FILE>', 'the service that was started with this file')
    .option('--control <PATH>', 'the service with this control socket');
}

/**
 * Path of the control socket of the service that is meant. Those that do not answer are left out, so that one that hangs or is just
 * ending is in nobody's way; one that is stopping is meant only where no other is. Throws when there is none, or more than one. `directories` are where default sockets are looked for.
 */
export async function findService(
  { control, config }: ServiceChoice,
  directories = searchedDirectories(),
): Promise<string> {
  if (control !== undefined && config !== undefined) throw new UsageError('give -c or --control, not both');
  const known = control ?? configured(config);
  if (known !== undefined) return resolve(known);
  const { running, mute } = await lookFor(defaultSockets(directories));
  const fitting = config === undefined ? running : running.filter(({ file }) => file === resolve(config));
  const staying = fitting.filter(({ stopping }) => !stopping);
  const meant = staying.length > 0 ? staying : fitting;
  const [only] = meant;
  if (only === undefined) throw noService(config, mute, directories);
  if (meant.length === 1) return only.path;
  const list = meant.map(({ path, file }) => `\n        ${path}  ${file ?? 'flags'}`).join('');
  const choice = config === undefined ? 'with -c FILE or --control PATH' : 'with --control PATH';
  throw new UsageError(`${meant.length} services are running`, { hint: `choose one ${choice}:${list}` });
}

/** A file that can't be used now may still be that of a running service, so its faults are not told here. */
function configured(config: string | undefined): string | undefined {
  if (config === undefined) return undefined;
  try {
    return readConfig({ file: config }).parts.control;
  } catch {
    return undefined;
  }
}

function noService(config: string | undefined, mute: readonly string[], directories: readonly string[]): SystemError {
  const message = config === undefined ? 'no service of this user is running' : `no service runs with ${config}`;
  const silent = mute.length === 0 ? '' : `; no answer came from ${mute.join(' and ')}`;
  const hint = `looked in ${directories.join(' and ')}${silent}; name its socket with --control if it is elsewhere`;
  return new SystemError(message, { code: 'ENOENT', hint });
}

/** Asks all at once. `mute`: somebody listens, but does not say what it serves. */
async function lookFor(paths: readonly string[]): Promise<{ readonly running: Found[]; readonly mute: string[] }> {
  const running: Found[] = [];
  const mute: string[] = [];
  const look = async (path: string): Promise<void> => {
    try {
      const { config, state } = (await ask(path, { command: 'status' }, undefined, silenceMs)) as Status;
      running.push({ path, file: config ?? undefined, stopping: state === 'stopping' });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ECONNREFUSED') removeIfStale(path);
      else if (code !== 'ENOENT' && code !== 'EACCES') mute.push(path);
    }
  };
  await Promise.all(paths.map(look));
  return { running, mute };
}

/**
 * What a killed service has left, in a directory of our own. The file of one that is just starting is not that: its process is there
 * before its file. Nor is one of a container that shares the directory: somebody listens on it.
 */
function removeIfStale(path: string): void {
  try {
    if (isOurs(path) && !isRunning(Number.parseInt(basename(path), 10))) rmSync(path);
  } catch {
    // Somebody else has removed it, or nothing can be changed there: it is in nobody's way.
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
