// SPDX-License-Identifier: MIT
// The peers as subjects: Debian's packages with a configuration of ours in a temporary folder, in the foreground.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ecdsa } from '../../test/helpers/certificates.ts';
import { freePort } from '../../test/helpers/proxy.ts';
import { pidsCalled, pidsOfSessions } from './processes.ts';
import type { Subject, SubjectKind, SubjectOptions } from './subject.ts';

interface Place extends SubjectOptions {
  readonly port: number;
  /** Temporary folder. */
  readonly folder: string;
  /** Certificate and key in one file. */
  readonly pem: string;
}

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

/** Starts programs in sessions of their own, so that all their descendants are found again. */
class Running {
  readonly #sessions = new Set<number>();
  readonly #log: number;
  /** The one that was started last. */
  last = 0;

  constructor(folder: string) {
    this.#log = openSync(join(folder, 'output'), 'a');
  }
  start([program = '', ...args]: readonly string[]): void {
    const child = spawn(program, args, { detached: true, stdio: ['ignore', this.#log, this.#log] });
    this.last = child.pid ?? 0;
    this.#sessions.add(this.last);
  }
  /** One that has left its session for one of its own. */
  adopt(pid: number): void {
    this.#sessions.add(pid);
  }
  pids(): number[] {
    return pidsOfSessions(this.#sessions);
  }
}

const sessionTimeout = '1h';
const cutAfter = '10s';

export const peers: readonly SubjectKind[] = [
  peer({
    name: 'nginx -s reload',
    packages: ['nginx', 'libnginx-mod-stream'],
    command: (place) => nginx(place, 'daemon off;'),
    round: ({ folder }) => run('nginx', '-c', join(folder, 'nginx.conf'), '-s', 'reload'),
  }),
  peer({
    name: `nginx -s reload, worker_shutdown_timeout ${cutAfter}`,
    packages: ['nginx', 'libnginx-mod-stream'],
    command: (place) => nginx(place, `daemon off; worker_shutdown_timeout ${cutAfter};`),
    round: ({ folder }) => run('nginx', '-c', join(folder, 'nginx.conf'), '-s', 'reload'),
  }),
  peer({
    name: 'nginx binary upgrade (USR2, WINCH, QUIT)',
    packages: ['nginx', 'libnginx-mod-stream'],
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
    packages: ['haproxy'],
    command: (place) => ['haproxy', '-W', '-f', haproxy(place)],
    round: (_, { last }) => void process.kill(last, 'SIGUSR2'),
  }),
  peer({
    name: `haproxy -W reload (USR2), hard-stop-after ${cutAfter}`,
    packages: ['haproxy'],
    command: (place) => ['haproxy', '-W', '-f', haproxy(place, `hard-stop-after ${cutAfter}`)],
    round: (_, { last }) => void process.kill(last, 'SIGUSR2'),
  }),
  peer({
    name: 'haproxy -sf',
    packages: ['haproxy'],
    command: (place) => ['haproxy', '-db', '-f', haproxy(place)],
    round: (place, running) => running.start(['haproxy', '-db', '-f', haproxy(place), '-sf', String(running.last)]),
  }),
  peer({
    name: 'hitch reload (HUP)',
    packages: ['hitch'],
    command: (place) => ['hitch', `--config=${hitch(place)}`],
    round: (_, { last }) => void process.kill(last, 'SIGHUP'),
  }),
  peer({
    name: 'stunnel reload (HUP)',
    packages: ['stunnel4'],
    command: (place) => ['stunnel4', stunnel(place)],
    round: (_, { last }) => void process.kill(last, 'SIGHUP'),
  }),
];

function pidFile({ folder }: Place): string {
  return join(folder, 'nginx.pid');
}

function nginx({ folder, port, backendPort, sessions }: Place, more: string): readonly string[] {
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `pid ${folder}/nginx.pid; error_log ${folder}/error.log; worker_processes auto; ${more}
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events { worker_connections ${4 * sessions}; }
stream {
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${ecdsa.cert}; ssl_certificate_key ${ecdsa.key};
    proxy_pass 127.0.0.1:${backendPort}; proxy_timeout ${sessionTimeout};
  }
}
`,
  );
  // With its path: it is executed again by this name.
  return ['/usr/sbin/nginx', '-c', file];
}

function haproxy({ folder, port, backendPort, sessions, pem }: Place, more = ''): string {
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(
    file,
    `global
  maxconn ${2 * sessions}
  ${more}
defaults
  mode tcp
  timeout connect 5s
  timeout client ${sessionTimeout}
  timeout server ${sessionTimeout}
listen bench
  bind 127.0.0.1:${port} ssl crt ${pem}
  server backend 127.0.0.1:${backendPort}
`,
  );
  return file;
}

function hitch({ folder, port, backendPort, pem }: Place): string {
  const file = join(folder, 'hitch.conf');
  writeFileSync(
    file,
    `frontend = "[127.0.0.1]:${port}"
backend = "[127.0.0.1]:${backendPort}"
pem-file = "${pem}"
workers = ${cpus().length}
daemon = off
user = "nobody"
`,
  );
  return file;
}

function stunnel({ folder, port, backendPort }: Place): string {
  const file = join(folder, 'stunnel.conf');
  writeFileSync(
    file,
    `foreground = yes
pid = ${folder}/stunnel.pid
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
accept = 127.0.0.1:${port}
connect = 127.0.0.1:${backendPort}
cert = ${ecdsa.cert}
key = ${ecdsa.key}
`,
  );
  return file;
}

function peer(kind: PeerKind): SubjectKind {
  return { name: kind.name, start: (options) => start(kind, options) };
}

async function start(kind: PeerKind, options: SubjectOptions): Promise<Subject> {
  install(kind.packages);
  const folder = mkdtempSync(join(tmpdir(), 'ironsocket-bench-'));
  const pem = join(folder, 'both.pem');
  writeFileSync(pem, readFileSync(ecdsa.cert, 'latin1') + readFileSync(ecdsa.key, 'latin1'), { mode: 0o600 });
  const place = { ...options, folder, pem, port: await freePort() };
  const running = new Running(folder);
  const killAll = () => {
    for (const pid of running.pids()) process.kill(pid, 'SIGKILL');
  };
  process.on('exit', killAll);
  const stop = async () => {
    process.off('exit', killAll);
    killAll();
    while (running.pids().length > 0) await wait(20);
    rmSync(folder, { recursive: true, force: true });
  };
  running.start(kind.command(place));
  if (!(await accepts(place))) {
    const output = readFileSync(join(folder, 'output'), 'utf8');
    await stop();
    throw new Error(`it does not listen:\n${output}`);
  }
  const file = kind.pidFile?.(place);
  if (file !== undefined) running.adopt(readPid(file) ?? 0);
  return {
    name: kind.name,
    version: versionOf(kind.packages[0] ?? ''),
    port: place.port,
    pids: () => running.pids(),
    round: async () => {
      const until = performance.now() + options.roundMs;
      await kind.round(place, running);
      await wait(until - performance.now());
      return { phases: [] };
    },
    stop,
  };
}

async function accepts({ port }: Place): Promise<boolean> {
  for (let i = 0; i < 250; i++) {
    const socket = net.connect(port, '127.0.0.1');
    const connected = await new Promise((resolve) => {
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    });
    socket.destroy();
    if (connected === true) return true;
    await wait(20);
  }
  return false;
}

/** Debian's packages, where they are missing. Services that their installation has started are ended. Throws when they can't be had. */
function install(packages: readonly string[]): void {
  const missing = packages.filter((name) => versionOf(name) === '');
  if (missing.length === 0) return;
  const before = new Set(pidsCalled(packages));
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args: string[]) =>
    execFileSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  apt('update');
  apt('install', '-y', '--no-install-recommends', ...missing);
  for (const pid of pidsCalled(packages)) if (!before.has(pid)) process.kill(pid, 'SIGTERM');
}

/** Of an installed package; empty if it is not. */
function versionOf(name: string): string {
  try {
    const text = execFileSync('dpkg-query', ['-s', name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return /^Status: .* installed$/m.test(text) ? (/^Version: (.*)$/m.exec(text)?.[1] ?? '') : '';
  } catch {
    return '';
  }
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

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
