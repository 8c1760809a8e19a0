// SPDX-License-Identifier: MIT
// The listening sockets: those that the keeper holds (a dead master's, or systemd's), the rest made new and put there. Never bound twice.
import { rmSync } from 'node:fs';
import type { Config, ListenerConfig } from '../config/config.ts';
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import type { Keeper } from './keeper.ts';

/** The kernel caps it at net.core.somaxconn. */
const backlog = 4_096;

export interface Listener {
  readonly config: ListenerConfig;
  /** Name at the keeper. */
  readonly heldName: string;
  readonly fd: number;
  /** Where it really listens. */
  readonly address: string;
}

/** Throws SystemError for the first that can't be had. */
export function openListeners(config: Config, keeper: Keeper): readonly Listener[] {
  return config.listeners.flatMap((listener) =>
    listener.addresses.flatMap((address) => openAddress(listener, address, keeper)),
  );
}

/** Closes ours; the sockets end with the worker's copies. Socket files go, so that clients are refused by name. */
export function dropListeners(listeners: readonly Listener[], keeper: Keeper): void {
  for (const { heldName, fd, address } of listeners) {
    keeper.drop(heldName);
    native.closeFd({ fd });
    const path = /^unix:(\/.*)$/.exec(address)?.[1];
    if (path !== undefined && !heldName.startsWith('listener:systemd:')) rmSync(path, { force: true });
  }
}

function openAddress(config: ListenerConfig, address: string, keeper: Keeper): readonly Listener[] {
  const heldName = `listener:${address}`;
  // A name of systemd may stand for several sockets: NAME, NAME:2, ...
  const names = [...keeper.held.keys()].filter((name) => name === heldName || isFurther(name, heldName));
  if (names.length === 0) names.push(heldName);
  return names.map((name) => {
    const fd = keeper.held.get(name) ?? listenOn(config, address);
    if (!keeper.held.has(name)) keeper.put(name, fd);
    return { config, heldName: name, fd, address: native.localAddress({ fd }) };
  });
}

function isFurther(name: string, first: string): boolean {
  return (
    first.startsWith('listener:systemd:') && name.startsWith(`${first}:`) && /^\d+$/.test(name.slice(first.length + 1))
  );
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
