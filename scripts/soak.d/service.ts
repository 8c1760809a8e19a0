// SPDX-License-Identifier: MIT
// The service under soak: started with a limit of open files that its worker really meets, and looked at from outside.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import type { Status } from '../../src/master/status.ts';
import type { UpgradeReport } from '../../src/upgrade/report.ts';
import { descendants } from '../../test/helpers/processes.ts';
import { type RunningProxy, startProxy } from '../../test/helpers/proxy.ts';
import { cpuSeconds, openFiles, proportionalBytes } from '../bench.d/processes.ts';
import { LogFile } from './log-file.ts';

export const roles = ['keeper', 'master', 'worker', 'leaving'] as const;
/** `leaving`: those of earlier generations, and candidates. */
export type Role = (typeof roles)[number];
export type ByRole = Readonly<Record<Role, number>>;

export interface Glance {
  /** Proportional set size, bytes. */
  readonly memory: ByRole;
  readonly files: ByRole;
  readonly processes: number;
  readonly sessions: number;
  readonly connections: number;
  /** So far. */
  readonly pauses: number;
  readonly accepted: number;
}

export interface ServiceOptions {
  readonly backends: { readonly plain: number; readonly proxied: number; readonly dead: number };
  /** A worker's limit of open files. */
  readonly files: number;
  readonly engine: string;
}

const timeoutMs = 60_000;

export class Service {
  readonly log: LogFile;
  readonly #proxy: RunningProxy;
  readonly #directory: string;

  private constructor(proxy: RunningProxy, directory: string, log: LogFile) {
    this.#proxy = proxy;
    this.#directory = directory;
    this.log = log;
  }

  static async start({ backends, files, engine }: ServiceOptions): Promise<Service> {
    const directory = mkdtempSync(join(tmpdir(), 'ironsocket-soak-'));
    // What a service starts with always leaves room: only whoever lowers the limit under it sees it full.
    const narrow = join(directory, 'narrow.cjs');
    writeFileSync(
      narrow,
      `if (/worker.main\\.js$/.test(process.argv[1] ?? ''))
  require('node:child_process').execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=${files}:${files}']);\n`,
    );
    const file = join(directory, 'log');
    const to = (port: number) => `127.0.0.1:${port}`;
    const proxy = await startProxy({
      leaks: false,
      listeners: [
        { name: 'plain', backend: to(backends.plain), offload: engine },
        { name: 'proxied', backend: to(backends.proxied), offload: engine, proxy_protocol: 'v2' },
        { name: 'dead', backend: to(backends.dead), offload: engine },
      ],
      // Who waits in the queue until the crowd has left must not meet its deadline in the handshake as well.
      config: { log: { level: 'info', file }, timeouts: { handshake: '60s', half_closed: '5m' } },
      env: { NODE_OPTIONS: `--require=${narrow}` },
      log: false,
    });
    return new Service(proxy, directory, new LogFile(file));
  }

  get ports(): { readonly plain: number; readonly proxied: number; readonly dead: number } {
    const [plain = 0, proxied = 0, dead = 0] = this.#proxy.ports;
    return { plain, proxied, dead };
  }

  get pids(): readonly number[] {
    return [this.#proxy.keeperPid, ...descendants(this.#proxy.keeperPid)];
  }

  /** Seconds of CPU of all its processes. */
  cpu(): number {
    return cpuSeconds(this.pids);
  }

  /** Undefined while no master answers. */
  async status(): Promise<Status | undefined> {
    try {
      return (await ask(this.#control, { command: 'status' })) as Status;
    } catch {
      return undefined;
    }
  }

  /** Undefined while there is no worker or no master, or they change. */
  async glance(): Promise<Glance | undefined> {
    const status = await this.status();
    if (status === undefined || status.worker === null) return undefined;
    const known = [this.#proxy.keeperPid, status.master.pid, status.worker.pid] as const;
    const { pids } = this;
    const [keeper, master, worker] = known.map((pid) => [pid]) as [number[], number[], number[]];
    const leaving = pids.filter((pid) => !known.includes(pid));
    const of = (measure: (pids: readonly number[]) => number | undefined): ByRole | undefined => {
      const [a, b, c, d] = [keeper, master, worker, leaving].map(measure);
      if (a === undefined || b === undefined || c === undefined) return undefined;
      return { keeper: a, master: b, worker: c, leaving: d ?? 0 };
    };
    const memory = of(proportionalBytes);
    const files = of(openFiles);
    if (memory === undefined || files === undefined) return undefined;
    const { connections_open: connections, accept_pauses: pauses, connections_accepted: accepted } = status.counters;
    const sessions = status.sessions.open;
    return { memory, files, processes: pids.length, sessions, connections, pauses, accepted };
  }

  async upgrade(): Promise<UpgradeReport> {
    const question = { command: 'upgrade', check: false, timeoutMs };
    return (await ask(this.#control, question, () => {}, timeoutMs * 2)) as UpgradeReport;
  }

  /** Throws what the proxy's end says where that is not in order. */
  async stop(): Promise<void> {
    try {
      await this.#proxy.stop();
    } finally {
      this.log.read();
      this.log.close();
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  get #control(): string {
    return join(controlDirectory(), `${this.#proxy.keeperPid}.sock`);
  }
}
