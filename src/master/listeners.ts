// SPDX-License-Identifier: MIT
// The listening sockets: those that the keeper holds (a dead master's, or systemd's), the rest made new and put there. Never bound twice.
import { rmSync } from 'node:fs';
import type { Config, ListenerConfig } from '../config/config.ts';
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import type { Keeper } from './keeper.ts';

/** The kernel caps it at net.core.somaxconn. */
const backlog = 4_096;
const prefix = 'listener:';
const systemdPrefix = 'listener:systemd:';

export interface Listener {
  readonly config: ListenerConfig;
  /** Name at the keeper. */
  readonly heldName: string;
  readonly fd: number;
  /** Where it really listens. */
  readonly address: string;
}

/** Listening sockets by their name at the keeper. */
export type Sockets = ReadonlyMap<string, number>;

/** What the keeper holds: a predecessor's sockets, and those that systemd has passed. */
export function heldSockets({ held }: Keeper): Sockets {
  return new Map([...held].filter(([name]) => name.startsWith(prefix)));
}

/** The sockets that are there, and new ones for what is missing. Throws SystemError for the first that can't be had; nothing is left open then. `onlyHad`: nothing is made. */
export function openListeners(config: Config, had: Sockets, onlyHad = false): readonly Listener[] {
  const all: Listener[] = [];
  try {
    for (const listener of config.listeners) {
      for (const address of listener.addresses) all.push(...openAddress(listener, address, had, onlyHad));
    }
    return all;
  } catch (error) {
    closeListeners(all, had);
    throw error;
  }
}

/** Gives those that are not in `but` to the keeper. */
export function keepListeners(listeners: readonly Listener[], but: Sockets, keeper: Keeper): void {
  for (const { heldName, fd } of listeners) if (!but.has(heldName)) keeper.put(heldName, fd);
}

/**
 * Closes those that are not in `but`; with a keeper it lets go of them as well. The sockets end with the worker's copies. Socket files
 * go, so that clients are refused by name.
 */
export function closeListeners(listeners: readonly Listener[], but: Sockets, keeper?: Keeper): void {
  for (const { heldName, fd, address } of listeners) {
    if (but.has(heldName)) continue;
    keeper?.drop(heldName);
    native.closeFd({ fd });
    const path = /^unix:(\/.*)$/.exec(address)?.[1];
    if (path !== undefined && !heldName.startsWith(systemdPrefix)) rmSync(path, { force: true });
  }
}

export function socketsOf(listeners: readonly Listener[]): Sockets {
  return new Map(listeners.map(({ heldName, fd }) => [heldName, fd]));
}

/** Sockets of systemd that no listener uses: it passes them only once. */
export function passedSockets(sockets: Sockets): Sockets {
  return new Map([...sockets].filter(([name]) => name.startsWith(systemdPrefix)));
}

/** A predecessor that died in the middle of a reload may have left some. */
export function dropStraySockets(sockets: Sockets, listeners: readonly Listener[], keeper: Keeper): void {
  const used = socketsOf(listeners);
  for (const [name, fd] of sockets) {
    if (used.has(name) || name.startsWith(systemdPrefix)) continue;
    keeper.drop(name);
    native.closeFd({ fd });
  }
}

function openAddress(config: ListenerConfig, address: string, had: Sockets, onlyHad: boolean): readonly Listener[] {
  const heldName = `${prefix}${address}`;
  // A name of systemd may stand for several sockets: NAME, NAME:2, ...
  const names = [...had.keys()].filter((name) => name === heldName || isFurther(name, heldName));
  if (names.length === 0 && onlyHad) {
    throw new SystemError(`the socket of ${address} was not handed over`, { code: 'ENOENT' });
  }
  if (names.length === 0) names.push(heldName);
  return names.map((name) => {
    const fd = had.get(name) ?? listenOn(config, address);
    return { config, heldName: name, fd, address: native.localAddress({ fd }) };
  });
}

function isFurther(name: string, first: string): boolean {
  return first.startsWith(systemdPrefix) && name.startsWith(`${first}:`) && /^\d+$/.test(name.slice(first.length + 1));
}

function listenOn({ name, v6Only }: ListenerConfig, address: string): number {
  if (address.startsWith('systemd:')) {
    throw new SystemError(`systemd passed no socket for the listener ${name} (${address})`, {
      code: 'ENOENT',
      hint: `its .socket unit needs FileDescriptorName=${address.slice('systemd:'.length)}, and the service must be started by it`,
    });
  }
  try {
    return native.listen({ address, backlog, v6Only });
  } catch (cause) {
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    throw new SystemError(`can't listen on ${address} for ${name}: ${message}`, { code, hint: hints[code], cause });
  }
}

const hints: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process has it: ss -lntxp shows which',
  EADDRNOTAVAIL: 'this machine has no such address: ip address shows those it has',
  EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE; or let systemd pass the socket (systemd:NAME)',
  EMFILE: 'raise the file limit (LimitNOFILE= of the unit, ulimit -n)',
};
