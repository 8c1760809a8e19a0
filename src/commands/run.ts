// SPDX-License-Identifier: MIT
// `ironsocket run`: looks for faults while there is a terminal to tell them to, then becomes the keeper, in this very process, so that
// its PID is the one that a shell, systemd or a container has seen.
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { checkConfig } from '../config/check.ts';
import type { ConfigRequest } from '../config/flags.ts';
import { optionsFor, renderFaults } from '../config/render.ts';
import { NativeError } from '../errors.ts';
import { native } from '../native.ts';

const keeperPath = fileURLToPath(new URL('../../build/Release/keeper', import.meta.url));
const masterPath = fileURLToPath(new URL('../master/main.js', import.meta.url));

export interface RunOptions {
  readonly request: ConfigRequest;
  /** The words after `run`: the master parses them again. */
  readonly args: readonly string[];
}

/** Throws ConfigError or NativeError when it can't start; does not return otherwise. */
export function run({ request, args }: RunOptions): void {
  const { warnings } = checkConfig(request, { starting: true });
  if (warnings.length > 0) process.stderr.write(`${renderFaults(warnings, optionsFor(process.stderr))}\n`);
  becomeKeeper([process.execPath, '--disable-sigusr1', masterPath, ...args]);
}

function becomeKeeper(master: readonly string[]): void {
  try {
    accessSync(keeperPath, constants.X_OK);
  } catch (cause) {
    throw new NativeError(`${keeperPath} is not there or not executable`, { hint: 'build it: npm run build', cause });
  }
  keepSystemdSockets();
  process.execve?.(keeperPath, ['ironsocket: keeper', ...master], process.env);
}

/** sd_listen_fds(3): descriptors from 3 on, which Node has marked close-on-exec at its start. */
function keepSystemdSockets(): void {
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  if (Number(LISTEN_PID) !== process.pid) return;
  for (let fd = 3; fd < 3 + Number(LISTEN_FDS); fd++) native.keepFdOverExec({ fd });
}
