// SPDX-License-Identifier: MIT
// `--demo`: fills in what its configuration leaves open, a free port and a backend, and says what to type.
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../config/config.ts';
import { serveDemo } from '../demo-backend.ts';
import type { Identity } from '../native.ts';
import { native } from '../native.ts';
import type { StateStore } from './state.ts';

const portsTried = 20;

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

/** Serves the page behind the demo, in this process; a dead master's connections to it are lost. */
export async function startDemo({ current }: StateStore): Promise<void> {
  if (current.demoDirectory === undefined) return;
  const path = socketIn(current.demoDirectory);
  await serveDemo(path);
  // Only the worker's user connects; the directory keeps out all others.
  if (current.identity !== undefined) chownSync(path, current.identity.uid, current.identity.gid);
  else chmodSync(path, 0o600);
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
