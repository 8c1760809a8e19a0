// SPDX-License-Identifier: MIT
// Which service a command means: the one behind a given socket, the one of a configuration file, or the only one that runs.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { readConfig } from '../config/load.ts';
import { SystemError, UsageError } from '../errors.ts';
import { ask } from './client.ts';
import { defaultSockets, searchedDirectories } from './places.ts';

/** One that hangs is not found, but can be named. */
const silenceMs = 3_000;

export interface ServiceChoice {
  readonly control?: string | undefined;
  /** The configuration file that it was started with. */
  readonly config?: string | undefined;
}

export function addServiceOptions(command: Command): Command {
  return command
    .option('-c, --config <FILE>', 'the service that was started with this file')
    .option('--control <PATH>', 'the service with this control socket');
}

/** Path of the control socket of the service that is meant. Throws when there is none, or more than one. */
export async function findService({ control, config }: ServiceChoice): Promise<string> {
  if (control !== undefined && config !== undefined) throw new UsageError('give -c or --control, not both');
  const known = control ?? configured(config);
  if (known !== undefined) return resolve(known);
  const running = await runningServices();
  const meant = config === undefined ? running : running.filter(({ file }) => file === resolve(config));
  const [only] = meant;
  if (only === undefined) {
    const message = config === undefined ? 'no service of this user is running' : `no service runs with ${config}`;
    const hint = `looked in ${searchedDirectories().join(' and ')}; name its socket with --control if it is elsewhere`;
    throw new SystemError(message, { code: 'ENOENT', hint });
  }
  if (meant.length === 1) return only.path;
  const list = meant.map(({ path, file }) => `${path} (${file ?? 'flags'})`).join(', ');
  throw new UsageError('several services are running', { hint: `choose one with --control: ${list}` });
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

async function runningServices(): Promise<readonly { readonly path: string; readonly file: string | undefined }[]> {
  const found = await Promise.all(
    defaultSockets().map(async (path) => {
      try {
        const { config } = (await ask(path, { command: 'status' }, undefined, silenceMs)) as {
          readonly config?: string;
        };
        return [{ path, file: config ?? undefined }];
      } catch {
        // Killed long ago, or ending just now, or another user's.
        return [];
      }
    }),
  );
  return found.flat();
}
