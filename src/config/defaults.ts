// SPDX-License-Identifier: MIT
// What holds when a key is left out and its value depends on the machine. Fixed defaults stand in the schema.
import { readFileSync } from 'node:fs';

/** Open files that are no connections: listeners, logs, channels, epolls, pipes, and a reserve for replacing a worker. */
export const reservedFiles = 512;
const filesPerConnection = 2;
/** Where files are unlimited there is still memory. */
const mostConnections = 1_000_000;

/** Open files that `connections` need. */
export function filesFor(connections: number): number {
  return connections * filesPerConnection + reservedFiles;
}

export function connectionsFor(files: number): number {
  return Math.max(1, Math.min(mostConnections, Math.floor((files - reservedFiles) / filesPerConnection)));
}

/** The hard RLIMIT_NOFILE, up to which processes raise their own (getrlimit(2), proc_pid_limits(5)). */
export function fileLimit(): number {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === undefined || limit === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(limit);
}
