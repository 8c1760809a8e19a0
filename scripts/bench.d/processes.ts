// SPDX-License-Identifier: MIT
// What /proc tells of the processes under measurement, as root.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

interface Stat {
  readonly session: number;
  /** Seconds of CPU, user and system, its own and those of the children that it has waited for. */
  readonly cpu: number;
}

/** Pids of all processes whose session was opened by one of these, which need not live any more. */
export function pidsOfSessions(leaders: ReadonlySet<number>): number[] {
  return allPids().filter((pid) => {
    const stat = statOf(pid);
    return stat !== undefined && leaders.has(stat.session);
  });
}

/** Pids of the processes of programs with these names. */
export function pidsCalled(names: readonly string[]): number[] {
  return allPids().filter((pid) => names.includes(read(`/proc/${pid}/comm`)?.trim() ?? ''));
}

function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Seconds of CPU of these and of what they have waited for. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (statOf(pid)?.cpu ?? 0), 0);
}

/** Memory in bytes, what is shared split among those who share it; undefined where the kernel does not tell us. */
export function proportionalBytes(pids: readonly number[]): number | undefined {
  let sum = 0;
  for (const pid of pids) {
    const text = read(`/proc/${pid}/smaps_rollup`);
    const match = text === undefined ? null : /^Pss:\s+(\d+) kB/m.exec(text);
    if (match === null) return undefined;
    sum += Number(match[1]) * 1024;
  }
  return sum;
}

export function openFiles(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + fdsOf(pid).length, 0);
}

/** Who holds what of a TCP port of 127.0.0.1. */
export interface PortUse {
  /** Processes with the listening socket. */
  readonly listening: readonly number[];
  /** Established connections by process. */
  readonly sessions: ReadonlyMap<number, number>;
}

export function portUse(port: number, pids: readonly number[]): PortUse {
  const { listening, established } = socketsOf(port);
  const use = pids.map((pid) => {
    const own = fdsOf(pid).flatMap((fd) => /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${fd}`))?.[1] ?? []);
    const count = (of: ReadonlySet<string>) => new Set(own.filter((inode) => of.has(inode))).size;
    return { pid, listens: count(listening) > 0, sessions: count(established) };
  });
  return {
    listening: use.filter(({ listens }) => listens).map(({ pid }) => pid),
    sessions: new Map(use.filter(({ sessions }) => sessions > 0).map(({ pid, sessions }) => [pid, sessions])),
  };
}

/** Inodes of the sockets at our end of a port: proc_pid_net(5). */
function socketsOf(port: number) {
  const listening = new Set<string>();
  const established = new Set<string>();
  for (const line of (read('/proc/net/tcp') ?? '').split('\n').slice(1)) {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    if (Number.parseInt(local.split(':')[1] ?? '', 16) !== port) continue;
    if (state === '0A') listening.add(inode);
    if (state === '01') established.add(inode);
  }
  return { listening, established };
}

/** proc_pid_stat(5). */
function statOf(pid: number): Stat | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z') return undefined;
  const ticks = fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0);
  return { session: Number(fields[3]), cpu: ticks / 100 };
}

function fdsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** Undefined when the process has ended, or is not for us to see. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
