// SPDX-License-Identifier: MIT
// The peers as subjects of `scripts/bench upgrade`: this system's packages, each with its own ways to reload or to upgrade.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { haproxy, hitch, nginx, type Place, packagesOf, stunnel } from './peer-settings.ts';
import { installed } from './programs.ts';
import { type Running, startInPlace, wait } from './running.ts';
import type { Subject, SubjectKind, SubjectOptions } from './subject.ts';

interface PeerKind {
  readonly name: string;
  /** Debian's. */
  readonly packages: readonly string[];
  /** Writes what it needs and gives the command that starts it. */
  command(place: Place): readonly string[];
  /** File with the pid of its first process, where it goes into the background. */
  pidFile?(place: Place): string;
  /** One reload or upgrade. */
  round(place: Place, running: Running): void | Promise<void>;
}

const cutAfter = '10s';

export const peers: readonly SubjectKind[] = [
  peer({
    name: 'nginx -s reload',
    packages: packagesOf.nginx,
    command: (place) => nginx(place, 'daemon off;'),
    round: ({ folder }) => run('nginx', '-c', join(folder, 'nginx.conf'), '-s', 'reload'),
  }),
  peer({
    name: `nginx -s reload, worker_shutdown_timeout ${cutAfter}`,
    packages: packagesOf.nginx,
    command: (place) => nginx(place, `daemon off; worker_shutdown_timeout ${cutAfter};`),
    round: ({ folder }) => run('nginx', '-c', join(folder, 'nginx.conf'), '-s', 'reload'),
  }),
  peer({
    name: 'nginx binary upgrade (USR2, WINCH, QUIT)',
    packages: packagesOf.nginx,
    // One in the foreground takes no USR2.
    command: (place) => nginx(place, 'daemon on;'),
    pidFile,
    round: async (place) => {
      const file = pidFile(place);
      const old = readPid(file) ?? 0;
      process.kill(old, 'SIGUSR2');
      // The new one writes its own when it serves, if it does: an old one that has not gone yet keeps a third from coming.
      for (let i = 0; i < 50 && [old, undefined].includes(readPid(file)); i++) await wait(20);
      if ([old, undefined].includes(readPid(file))) return;
      await wait(100);
      process.kill(old, 'SIGWINCH');
      process.kill(old, 'SIGQUIT');
    },
  }),
  peer({
    name: 'haproxy -W reload (USR2)',
    packages: packagesOf.haproxy,
    command: (place) => [...haproxy(place), '-W'],
    round: (_, { last }) => void process.kill(last, 'SIGUSR2'),
  }),
  peer({
    name: `haproxy -W reload (USR2), hard-stop-after ${cutAfter}`,
    packages: packagesOf.haproxy,
    command: (place) => [...haproxy(place, `hard-stop-after ${cutAfter}`), '-W'],
    round: (_, { last }) => void process.kill(last, 'SIGUSR2'),
  }),
  peer({
    name: 'haproxy -sf',
    packages: packagesOf.haproxy,
    command: (place) => [...haproxy(place), '-db'],
    round: (place, running) => running.start([...haproxy(place), '-db', '-sf', String(running.last)]),
  }),
  peer({
    name: 'hitch reload (HUP)',
    packages: packagesOf.hitch,
    command: hitch,
    round: (_, { last }) => void process.kill(last, 'SIGHUP'),
  }),
  peer({
    name: 'stunnel reload (HUP)',
    packages: packagesOf.stunnel,
    command: (place) => stunnel(place),
    round: (_, { last }) => void process.kill(last, 'SIGHUP'),
  }),
];

function pidFile({ folder }: Place): string {
  return join(folder, 'nginx.pid');
}

function peer(kind: PeerKind): SubjectKind {
  return { name: kind.name, start: (options) => start(kind, options) };
}

async function start(kind: PeerKind, { backendPort, sessions, roundMs }: SubjectOptions): Promise<Subject> {
  installed.provide(kind.packages);
  const { place, running, stop } = await startInPlace(
    { backendPort, sessions, workers: cpus().length, programs: installed },
    kind.command,
  );
  const file = kind.pidFile?.(place);
  if (file !== undefined) running.adopt(readPid(file) ?? 0);
  return {
    name: kind.name,
    version: installed.version(kind.packages[0] ?? ''),
    port: place.port,
    pids: () => running.pids(),
    round: async () => {
      const until = performance.now() + roundMs;
      await kind.round(place, running);
      await wait(until - performance.now());
      return { phases: [] };
    },
    stop,
  };
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function readPid(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}
