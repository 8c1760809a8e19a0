// SPDX-License-Identifier: MIT
// The real proxy in its own processes: started with a configuration file or flags, watched through its log, ended and checked
// for leftovers.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import * as dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ecdsa, type TestCertificate } from './certificates.ts';
import { cliPath, nodePath } from './installation.ts';
import { checkLeaks, type Holdings, holdingsOf } from './leaks.ts';
import { type LogLine, LogLines } from './log-lines.ts';
import { atRest, descendants, isAlive } from './processes.ts';
import { timeFactor } from './time.ts';

export const versions = ['1.3', '1.2'] as const;

export interface ListenerOptions {
  /** Where sessions go: `HOST:PORT` or `unix:/path`. */
  readonly backend: string;
  readonly name?: string;
  /** Left out: 127.0.0.1 and a free port. */
  readonly listen?: string | readonly string[];
  readonly certificates?: readonly TestCertificate[];
  /** Any other key of a listener, as in the configuration file. */
  readonly [key: string]: unknown;
}

export interface ProxyOptions {
  readonly listeners: readonly ListenerOptions[];
  /** Top-level keys besides `listeners`, as in the configuration file. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly env?: NodeJS.ProcessEnv;
  /** Soft and hard limit of open files. */
  readonly files?: number;
  /** False: the log goes elsewhere, readiness is when the first listener accepts. */
  readonly log?: boolean;
  /** False: `stop` looks for nothing that sessions have left; some may live on in other processes. */
  readonly leaks?: boolean;
}

export interface RunningProxy {
  readonly log: LogLines;
  /** What came on stderr. */
  readonly stderr: () => string;
  /** Ports of the listeners, in their order. */
  readonly ports: readonly number[];
  /** The first listener's. */
  readonly port: number;
  /** Temporary directory with the configuration; gone after stop. */
  readonly directory: string;
  readonly child: ChildProcess;
  readonly keeperPid: number;
  readonly masterPid: () => number;
  readonly workerPid: () => number;
  /** The last log line of the session of the client with this port; clients of two listeners may have the same. */
  readonly sessionEnd: (clientPort: number | undefined, listenPort?: number) => Promise<LogLine>;
  /**
   * Throws when sessions that have ended have left anything (leaks.ts); then TERM, waits, and throws unless the exit code is 0 and no
   * process is left. Sessions with an end in this process are ended first.
   */
  readonly stop: () => Promise<void>;
}

/** What proxies held when they had just started. */
const bases = new WeakMap<ChildProcess, Holdings>();

/** Starts `ironsocket run -c FILE` and waits until it serves. */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  const ports: number[] = [];
  const listeners: unknown[] = [];
  for (const { certificates = [ecdsa], listen, ...rest } of options.listeners) {
    const port = await freePort();
    ports.push(port);
    listeners.push({ ...rest, listen: listen ?? `127.0.0.1:${port}`, certificates });
  }
  const log = { level: 'debug', ...(options.config?.log as object | undefined) };
  const timeouts = { drain: '1s', ...(options.config?.timeouts as object | undefined) };
  // JSON is YAML.
  const file = join(directory, 'ironsocket.yaml');
  writeFileSync(file, JSON.stringify({ ...options.config, log, timeouts, listeners }, null, 2));
  const proxy = spawnProxy(['run', '-c', file], { ...options, ports, directory });
  if (options.log === false) {
    // It may still be starting.
    await accepting(proxy);
  } else {
    await ready(proxy);
    // What the master has given it to keep may still be on its way.
    await atRest(proxy.keeperPid);
    bases.set(proxy.child, holdingsOf(proxy.keeperPid));
  }
  return proxy;
}

type SpawnOptions = Pick<ProxyOptions, 'env' | 'files' | 'leaks'> & {
  readonly ports?: readonly number[];
  readonly directory?: string;
};

/** Starts any command of ironsocket, without waiting. */
export function spawnProxy(args: readonly string[], options: SpawnOptions = {}): RunningProxy {
  const limit = options.files === undefined ? '' : `ulimit -n ${options.files} && `;
  const child = spawn('bash', ['-c', `${limit}exec "$@"`, 'bash', nodePath, cliPath, ...args], {
    env: { ...process.env, NO_COLOR: '1', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log = new LogLines();
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => log.push(text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const killAll = (): void => {
    for (const pid of [...descendants(child.pid ?? 0), child.pid ?? 0]) kill(pid, 'SIGKILL');
  };
  process.on('exit', killAll);
  const exited = once(child, 'exit');
  const lastPid = (match: Record<string, string>, key: string): number => Number(log.all(match).at(-1)?.[key] ?? 0);
  const { ports = [], directory = '' } = options;
  const runs = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    log,
    stderr: () => stderr,
    ports,
    port: ports[0] ?? 0,
    directory,
    child,
    keeperPid: child.pid ?? 0,
    masterPid: () => lastPid({ process_type: 'master' }, 'pid'),
    workerPid: () => lastPid({ event: 'worker', worker_state: 'spawned' }, 'worker_pid'),
    sessionEnd: (clientPort, listenPort) => {
      const ports = { client_port: clientPort ?? -1, ...(listenPort === undefined ? {} : { listen_port: listenPort }) };
      return log.waitFor({ event: 'proxy', subevent: 'client_disconnect', ...ports });
    },
    stop: async () => {
      const pids = descendants(child.pid ?? 0);
      const looks = options.leaks !== false && runs();
      const leaks = looks
        ? await checkLeaks(child.pid ?? 0, ports, bases.get(child)).catch((error) => error)
        : undefined;
      if (runs()) child.kill('SIGTERM');
      const timer = setTimeout(killAll, 15_000 * timeFactor);
      const [code, signal] = await exited;
      clearTimeout(timer);
      process.off('exit', killAll);
      if (directory !== '') rmSync(directory, { recursive: true, force: true });
      const left = pids.filter(isAlive);
      for (const pid of left) kill(pid, 'SIGKILL');
      if (leaks !== undefined) throw leaks;
      if (code !== 0) throw new Error(`the proxy ended with ${code ?? signal}\n${log.tail()}\n${stderr}`);
      if (left.length > 0) throw new Error(`processes left behind: ${left}`);
      if (log.strange.length > 0) throw new Error(`lines that are no logfmt: ${log.strange.join('\n')}`);
    },
  };
}

async function ready(proxy: RunningProxy): Promise<void> {
  const ended = once(proxy.child, 'exit').then(([code, signal]) => {
    throw new Error(`the proxy ended at once with ${code ?? signal}\n${proxy.log.tail()}\n${proxy.stderr()}`);
  });
  ended.catch(() => {});
  // Three processes start, two of them with Node: where all cores are busy, that takes longer than any other line of the log.
  await Promise.race([proxy.log.waitFor({ event: 'ready' }, { ms: 60_000 }), ended]);
}

async function accepting(proxy: RunningProxy): Promise<void> {
  for (;;) {
    const socket = net.connect(proxy.port, '127.0.0.1');
    const connected = await new Promise<boolean>((resolve) => {
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    });
    socket.destroy();
    if (connected) return;
    if (proxy.child.exitCode !== null)
      throw new Error(`the proxy ended with ${proxy.child.exitCode}\n${proxy.stderr()}`);
  }
}

/**
 * A port that nobody listens on, out of the range that the kernel gives to clients. Until this process ends no other test gets it: each
 * holds the UDP port of the same number, of which there is one for all.
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    if (!(await isReserved(port))) continue;
    const server = net.createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.on('error', () => resolve(false)).listen(port, host, () => resolve(true));
    });
    if (!free) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

async function isReserved(port: number): Promise<boolean> {
  const mark = dgram.createSocket('udp4').unref();
  return new Promise((resolve) => {
    mark.on('error', () => resolve(false)).bind({ port, address: '127.0.0.1', exclusive: true }, () => resolve(true));
  });
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    if (pid > 1) process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
