// SPDX-License-Identifier: MIT
// What a service holds for its sessions must be given back when they have ended: descriptors, pipes among them, memory of its relay
// threads, sockets in the kernel, also those that no process has any more. proxy.ts looks before it ends a service, so that every test
// with a proxy does. Whose descriptors they are only root may see.
import { subscribe } from 'node:diagnostics_channel';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import type { Status } from '../../src/master/status.ts';
import { descendants } from './processes.ts';
import { timeFactor } from './time.ts';

/** By pid, how many descriptors of each kind. */
export type Holdings = ReadonlyMap<number, ReadonlyMap<string, number>>;

/** What sessions hold, as workers count it. */
const gauges = ['connections_open', 'handshakes_open', 'sessions_open', 'session_slots', 'buffer_blocks'] as const;

/** Sockets of this process. */
const ours = new Set<Socket>();
for (const channel of ['net.client.socket', 'net.server.socket']) {
  subscribe(channel, (message) => {
    const { socket } = message as { socket: Socket };
    ours.add(socket.once('close', () => ours.delete(socket)));
  });
}

/** Of a service that has had no session yet. */
export function holdingsOf(keeperPid: number): Holdings {
  const pids = [keeperPid, ...descendants(keeperPid)];
  return new Map(pids.map((pid) => [pid, counted(descriptors(pid).map((target) => target.replace(/\[\d+\]$/, '')))]));
}

/**
 * Ends the sessions of a service that this process has an end of, and throws unless the service then holds what it had in the beginning.
 * Nothing is said of a service that is about to end.
 */
export async function checkLeaks(
  keeperPid: number,
  ports: readonly number[],
  base: Holdings | undefined,
): Promise<void> {
  const until = performance.now() + 10_000 * timeFactor;
  for (;;) {
    const status = await statusOf(keeperPid);
    if (status === 'gone' || status?.state === 'stopping') return;
    const left = connectionsOf(keeperPid, ports);
    endSessions(left);
    const found = [...openCounts(status), ...left.map(described), ...grown(keeperPid, status, base)];
    if (found.length === 0) return;
    if (performance.now() > until) throw new Error(`left of sessions that have ended:\n${found.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Undefined where it was told to have no socket; `gone` when it ends meanwhile. */
async function statusOf(keeperPid: number): Promise<Status | 'gone' | undefined> {
  const path = join(controlDirectory(), `${keeperPid}.sock`);
  if (!existsSync(path)) return undefined;
  try {
    return (await ask(path, { command: 'status' })) as Status;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['EPIPE', 'ECONNREFUSED', 'ENOENT'].includes(code)) return 'gone';
    throw error;
  }
}

function openCounts(status: Status | undefined): string[] {
  return gauges.filter((name) => (status?.counters[name] ?? 0) > 0).map((name) => `${name}: ${status?.counters[name]}`);
}

/** Where Node lets us by RST, so that neither side waits for the other. */
function endSessions(connections: readonly Connection[]): void {
  const theirs = new Set(connections.map(({ local, remote }) => `${remote} ${local}`));
  for (const socket of ours) {
    if (!theirs.has(`${socket.localPort} ${socket.remotePort}`)) continue;
    socket.on('error', () => {});
    if (socket instanceof TLSSocket) socket.destroy();
    else socket.resetAndDestroy();
  }
}

/** Descriptors by which its processes have more than in the beginning; another process, reload or upgrade since then makes them others. */
function grown(keeperPid: number, status: Status | undefined, base: Holdings | undefined): string[] {
  if (status === undefined || status.generation > 1 || status.revision > 1) return [];
  const holdings = [...holdingsOf(keeperPid)];
  if (holdings.some(([pid]) => base?.get(pid) === undefined)) return [];
  return holdings.flatMap(([pid, now]) => {
    const before = base?.get(pid);
    if (before === undefined || before.size === 0) return [];
    return [...now]
      .filter(([kind, count]) => count > (before.get(kind) ?? 0))
      .map(([kind, count]) => `process ${pid}: ${count} of ${kind}, before ${before.get(kind) ?? 0}`);
  });
}

interface Connection {
  /** Ports. */
  readonly local: number;
  readonly remote: number;
  /** As the kernel numbers them. */
  readonly state: string;
  readonly inode: string;
}

const listening = '0A';
const timeWait = '06';

/** Those that its processes have, and those of its ports that nobody has. */
function connectionsOf(keeperPid: number, ports: readonly number[]): Connection[] {
  const pids = [keeperPid, ...descendants(keeperPid)];
  const inodes = new Set(pids.flatMap(descriptors).map((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1]));
  return allConnections().filter(({ inode, local }) => inodes.has(inode) || (inode === '0' && ports.includes(local)));
}

const described = ({ local, remote, state, inode }: Connection): string =>
  `TCP ${local} to ${remote}, state ${state}, inode ${inode}`;

/** proc_net_tcp(5): all but sockets that listen, and what is left of those that ended in order. */
function allConnections(): Connection[] {
  return ['tcp', 'tcp6'].flatMap((name) => {
    const file = `/proc/net/${name}`;
    if (!existsSync(file)) return [];
    const rows = readFileSync(file, 'latin1').trim().split('\n').slice(1);
    return rows.flatMap((row) => {
      const [, local = '', remote = '', state = '', , , , , , inode = ''] = row.trim().split(/\s+/);
      if (state === listening || state === timeWait) return [];
      return [{ local: portOf(local), remote: portOf(remote), state, inode }];
    });
  });
}

const portOf = (address: string): number => Number.parseInt(address.slice(address.lastIndexOf(':') + 1), 16);

/** What they name, empty where we may not look or the process is gone. */
function descriptors(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return []; // closed meanwhile
      }
    });
  } catch {
    return [];
  }
}

function counted(kinds: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}
