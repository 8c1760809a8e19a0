// SPDX-License-Identifier: MIT
// `--demo`: fills in what its configuration leaves open, a free port and a backend, and says what to type.
import { spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/config.ts';
import type { Identity } from '../native.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import type { Keeper } from './keeper.ts';
import type { StateStore } from './state.ts';

const portsTried = 20;
const entry = fileURLToPath(new URL('../demo/main.js', import.meta.url));
/** At the keeper. */
const heldName = 'demo';

/** Completes the configuration. */
export function prepareDemo(
  config: Config,
  identity: Identity | undefined,
): { readonly config: Config; readonly demoDirectory: string } {
  const demoDirectory = mkdtempSync(join(tmpdir(), 'ironsocket-demo-'));
  if (identity !== undefined) chownSync(demoDirectory, identity.uid, identity.gid);
  const listeners = config.listeners.map((listener) => ({
    ...listener,
    addresses: listener.addresses.map(freeAddress),
    backend: `unix:${socketIn(demoDirectory)}`,
  }));
  return { config: { ...config, listeners }, demoDirectory };
}

/**
 * Has the service behind the demo, in a process of its own that no master takes with it. It ends when the keeper, which has the other
 * end of its channel, lets go of it.
 */
export async function startDemo({ current }: StateStore, keeper: Keeper): Promise<void> {
  const { demoDirectory, identity } = current;
  if (demoDirectory === undefined || keeper.held.has(heldName)) return;
  const { a, b } = native.socketPair();
  const child = spawn(process.execPath, ['--disable-sigusr1', entry, socketIn(demoDirectory)], {
    stdio: ['ignore', 'ignore', 'inherit', b],
    cwd: '/',
    ...(identity === undefined ? {} : { uid: identity.uid, gid: identity.gid }),
  });
  child.on('error', (error) => log('error', 'system_error', failure("can't start the service behind the demo", error)));
  native.closeFd({ fd: b });
  keeper.put(heldName, a);
  await new Promise<void>((resolve) => {
    const done = () => {
      channel.close();
      resolve();
    };
    const channel = native.openChannel({ fd: a, onMessage: done, onClose: done });
  });
}

export function demoInvitation(address: string): string {
  const port = address.slice(address.lastIndexOf(':') + 1);
  return `\n  Try it:  curl -k https://localhost:${port}/\n  Stop it: Ctrl-C\n\n`;
}

export function removeDemo({ current }: StateStore): void {
  if (current.demoDirectory !== undefined) rmSync(current.demoDirectory, { recursive: true, force: true });
}

function socketIn(directory: string): string {
  return join(directory, 'backend.sock');
}

/** The first free port from the wanted one on; the wanted one, and so its error, when none is. */
function freeAddress(address: string): string {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon);
  const first = Number(address.slice(colon + 1));
  for (let port = first; port < first + portsTried; port++) {
    try {
      native.closeFd({ fd: native.listen({ address: `${host}:${port}`, backlog: 1, v6Only: false }) });
      return `${host}:${port}`;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') break;
    }
  }
  return address;
}
