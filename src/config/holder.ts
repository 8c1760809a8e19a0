// SPDX-License-Identifier: MIT
// Who listens on an address, as far as /proc tells: the sockets of others are seen by root only.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface Holder {
  readonly pid: number;
  readonly name: string;
  /** One of our own processes: a reload or an upgrade takes its sockets over. */
  readonly own: boolean;
}

/** The first process that listens on the TCP port, or undefined. */
export function holderOfPort(port: number): Holder | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  // proc_pid_net(5): "sl local_address rem_address st ... inode"; state 0A is LISTEN
  const inodes = ['tcp', 'tcp6']
    .flatMap((table) => rows(table))
    .flatMap((row) => {
      return row[3] === '0A' && row[1]?.endsWith(`:${hex}`) && row[9] !== undefined ? [row[9]] : [];
    });
  return holderOf(inodes);
}

/** The first process that listens on a unix socket: undefined when nobody does, true when somebody does whom we may not see. */
export function holderOfSocket(path: string): Holder | true | undefined {
  const listening = '00010000'; // __SO_ACCEPTCON
  const found = rows('unix').filter((row) => row[3] === listening && row.slice(7).join(' ') === path);
  return found.length === 0 ? undefined : (holderOf(found.flatMap((row) => row[6] ?? [])) ?? true);
}

function rows(table: string): string[][] {
  return read(`/proc/net/${table}`)
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
}

function holderOf(inodes: readonly string[]): Holder | undefined {
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`));
  if (links.size === 0) return undefined;
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const pid = pids.find((candidate) =>
    entries(`/proc/${candidate}/fd`).some((fd) => links.has(link(`/proc/${candidate}/fd/${fd}`))),
  );
  if (pid === undefined) return undefined;
  const command = read(`/proc/${pid}/cmdline`).split('\0');
  // As keeper, master and worker call themselves; the other is what a process is until it has done so.
  const own =
    command[0]?.startsWith('ironsocket: ') === true ||
    command.some((word) => /\/(?:dist|src)\/(?:master|worker)\/main\.[jt]s$/.test(word));
  return { pid: Number(pid), name: own ? 'ironsocket' : read(`/proc/${pid}/comm`).trim(), own };
}

/** A process may end while it is looked at, and others' descriptors may be hidden: both read as nothing. */
function orElse<T>(fallback: T, get: () => T): T {
  try {
    return get();
  } catch {
    return fallback;
  }
}

const read = (path: string) => orElse('', () => readFileSync(path, 'utf8'));
const link = (path: string) => orElse('', () => readlinkSync(path));
const entries = (path: string) => orElse<string[]>([], () => readdirSync(path));
