// SPDX-License-Identifier: MIT
// A busy proxy with the seam in it, and rounds of visits to it. Each round says what is wrong with it: a session that was hurt for no
// reason, a byte, an end, a process that died, a thread that spins, a log that floods.
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import * as net from 'node:net';
import { ask } from '../../src/admin/client.ts';
import { type Engine, isKernel } from '../helpers/engines.ts';
import { Peer } from '../helpers/peer.ts';
import { descendants, isAlive, residentBytes, settledFiles } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { edit, reload } from '../helpers/reload.ts';
import { timeFactor } from '../helpers/time.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import type { TlsVersion } from '../helpers/tls-records.ts';
import { controlOf } from '../helpers/upgrade.ts';
import { Seam } from './rule.ts';
import { type Ending, type Plan, Visit } from './visit.ts';

/** For all visits of a round, the pause included. */
const roundLimitMs = 20_000 * timeFactor;
/** For old masters and workers to be gone. */
const leaveLimitMs = 10_000 * timeFactor;
/** In which everybody waits, and nobody should work. */
const pauseMs = 30 * timeFactor;
const upgradeLimitMs = 30_000 * timeFactor;
/** Lines a round may write besides those that each session has; an upgrade has some. */
const moreLines = 60;

/** Each way, in a slow round: more than the sockets on the way hold. */
const slowBytes = 6 << 20;

/** Every kind of visit at once, or such that nobody reads for a while. */
export type RoundKind = 'usual' | 'slow';

export interface Round {
  readonly endings: Readonly<Record<Ending, number>>;
  /** What is wrong with it. */
  readonly faults: readonly string[];
}

export class Scene {
  readonly proxy: RunningProxy;
  readonly seam: Seam;
  readonly #server: net.Server;
  readonly #visits = new Map<number, Visit>();
  /** Connections that have not said yet whose they are. */
  readonly #strangers = new Set<Peer>();
  readonly #tickets: Partial<Record<TlsVersion, Buffer>> = {};
  readonly #rekeys: boolean;
  #strayEnds: string[] = [];
  #nextId = 1;
  #files = '';
  /** That serves. */
  #worker: number;
  /** Why the last upgrade that failed did. */
  lastFailure = '';

  private constructor(proxy: RunningProxy, seam: Seam, server: net.Server, rekeys: boolean) {
    this.proxy = proxy;
    this.seam = seam;
    this.#server = server;
    this.#rekeys = rekeys;
    this.#worker = proxy.workerPid();
    server.on('connection', (socket: net.Socket) => this.#accept(new Peer(socket, { taking: 'count' })));
  }

  /** One proxy with this engine, which has served already. `rekeys`: whether the engine can follow a KeyUpdate. */
  static async open(engine: Engine, rekeys: boolean, relayThreads = 1): Promise<Scene> {
    const seam = new Seam();
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
    await once(server, 'listening');
    const backend = `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    const offload = isKernel(engine) ? 'kernel' : 'userspace';
    const proxy = await startProxy({
      leaks: false,
      listeners: [{ backend }, { backend, proxy_protocol: 'v1', name: 'with-header' }],
      config: {
        offload,
        log: { level: 'info' },
        // Ends that nobody should wait for: what hangs is to be seen as such.
        timeouts: { drain: '1s', connect: '3s' },
        threads: { handshake: 1, relay: relayThreads },
      },
      env: { ...engine.env, ...seam.env },
    });
    const scene = new Scene(proxy, seam, server, rekeys);
    for (const version of ['1.2', '1.3'] as const) scene.#tickets[version] = await scene.#ticket(version);
    for (let i = 0; i < 3; i++) await scene.round();
    scene.#files = await scene.#openFiles();
    return scene;
  }

  get memoryBytes(): number {
    return residentBytes(this.#worker);
  }

  /** A round of visits; what `during` does happens while they stand still. */
  async round(kind: RoundKind = 'usual', during?: () => Promise<unknown>): Promise<Round> {
    const lines = this.proxy.log.lines.length;
    const visits = this.#plans(kind).map((plan) => new Visit(this.#nextId++, plan));
    const faults: string[] = [];
    const pause = new Pause(visits.length, async () => {
      await during?.();
      return spinning(this.#worker);
    });
    const runs = visits.map(async (visit, i) => {
      this.#visits.set(visit.id, visit);
      let waited = false;
      const ending = await visit.run(this.proxy.ports[i % 2] ?? 0, () => {
        waited = true;
        return pause.wait();
      });
      if (!waited) pause.leave();
      return ending;
    });
    const limitMs = during === undefined ? roundLimitMs : 2 * roundLimitMs;
    const endings = await within(limitMs, Promise.all(runs));
    if (endings === undefined) faults.push(...visits.map((visit) => `not over after ${limitMs} ms: ${stands(visit)}`));
    for (const visit of visits) {
      faults.push(...visit.faults.map((text) => `visit of port ${visit.port}, ${describePlan(visit.plan)}: ${text}`));
      this.#visits.delete(visit.id);
    }
    faults.push(...this.#strayEnds.splice(0), ...pause.faults);
    if (!isAlive(this.#worker)) {
      faults.push(`the worker ${this.#worker} died`);
      await this.proxy.log.waitFor({ event: 'ready' });
      this.#worker = this.proxy.workerPid();
    }
    faults.push(...(await this.#untold(visits, endings ?? [], lines)));
    return { endings: count(endings ?? []), faults };
  }

  /** An upgrade to the same version while sessions stand still; whether it was committed. */
  async upgrade(): Promise<{ readonly round: Round; readonly committed: boolean }> {
    let committed = false;
    const round = await this.round('usual', async () => {
      try {
        await ask(controlOf(this.proxy), { command: 'upgrade', timeoutMs: upgradeLimitMs }, () => {}, upgradeLimitMs);
        committed = true;
        this.#worker = newestWorker(this.proxy.keeperPid);
      } catch (error) {
        // All is as before, says the one; the other that the master was gone before it could answer.
        this.lastFailure = (error as Error).message;
      }
    });
    return { round, committed };
  }

  /** A reload with another configuration while sessions stand still; whether it was taken. */
  async reload(): Promise<{ readonly round: Round; readonly committed: boolean }> {
    let committed = false;
    const round = await this.round('usual', async () => {
      edit(this.proxy, (document) => {
        document.timeouts = { ...(document.timeouts as object), idle: `${1000 + (this.#nextId % 1000)}s` };
      });
      committed = (await reload(this.proxy)).outcome === 'changed';
    });
    return { round, committed };
  }

  /** What has not been given back since the scene was opened, once all sessions have ended. */
  async leaks(): Promise<string[]> {
    const now = await this.#openFiles();
    const before = this.#files.split(',').map(Number);
    const more = now.split(',').some((files, i) => !(Number(files) <= (before[i] ?? -1)));
    return more ? [`open files of keeper, master and worker were ${this.#files}, are ${now}`] : [];
  }

  async close(): Promise<void> {
    for (const stranger of this.#strangers) stranger.socket.destroy();
    this.#server.close();
    await this.proxy.stop();
    this.seam.close();
  }

  /** What the two ends of a session can do to it, in both versions; or only be slow. */
  #plans(kind: RoundKind): Plan[] {
    const rekeys = this.#rekeys;
    if (kind === 'slow') {
      return (['1.3', '1.2'] as const).map((version) => ({ version, leave: 'client', bytes: slowBytes, slow: true }));
    }
    const session = (version: TlsVersion): Partial<Plan> => {
      const ticket = this.#tickets[version];
      return ticket === undefined ? {} : { session: ticket };
    };
    return [
      { version: '1.3', leave: 'client', bytes: 2_000, piece: 100 },
      { version: '1.2', leave: 'client', bytes: 300_000 },
      { version: '1.3', leave: 'client', bytes: 300_000, rekeys },
      { version: '1.2', leave: 'client first', bytes: 40_000, ...session('1.2') },
      { version: '1.3', leave: 'client first', bytes: 40_000, ...session('1.3') },
      { version: '1.3', leave: 'backend first', bytes: 40_000, piece: 3_000, rekeys },
      { version: '1.2', leave: 'client reset', bytes: 20_000 },
      { version: '1.3', leave: 'backend reset', bytes: 20_000 },
    ];
  }

  /** Reads up to the number of the visit, with the PROXY header before it if there is one. */
  #accept(peer: Peer): void {
    this.#strangers.add(peer);
    let came = Buffer.alloc(0);
    const take = (bytes: Buffer): void => {
      came = Buffer.concat([came, bytes]);
      const header = came.subarray(0, 5).toString('latin1') === 'PROXY' ? came.indexOf('\r\n') + 2 : 0;
      if (header === 1 || came.length < header + 4) return;
      const visit = this.#visits.get(came.readUInt32BE(header));
      this.#strangers.delete(peer);
      peer.socket.off('data', take);
      if (visit === undefined) {
        peer.socket.resetAndDestroy();
        this.#strayEnds.push(`a connection to the backend with other first bytes: ${came.subarray(0, 60)}`);
        return;
      }
      const expected = `PROXY TCP4 127.0.0.1 127.0.0.1 ${visit.client?.port} ${this.proxy.ports[1]}\r\n`;
      if (header > 0 && came.subarray(0, header).toString('latin1') !== expected) visit.faults.push('a wrong header');
      visit.arrived(peer, came.subarray(header + 4));
    };
    peer.socket.on('data', take);
    void peer.end.then((ending) => {
      if (!this.#strangers.delete(peer)) return;
      peer.socket.destroy();
      if (ending === 'fin') this.#strayEnds.push('FIN to the backend where the client has sent nothing');
    });
  }

  /** Sessions that were hurt, but of which the log says nothing; or a log that says too much. */
  async #untold(visits: readonly Visit[], endings: readonly Ending[], from: number): Promise<string[]> {
    const { log } = this.proxy;
    const faults: string[] = [];
    for (const [i, visit] of visits.entries()) {
      if (visit.port === 0 || endings[i] !== 'cut') continue;
      const told = log.waitFor({ client_port: visit.port, reason: /./ }, { from, ms: 1_000 });
      await told.catch(() => faults.push(`the log does not tell of the end of port ${visit.port}`));
    }
    const others = log.lines.slice(from).filter(({ client_port }) => client_port === undefined);
    if (others.length > moreLines) faults.push(`${others.length} lines in the log`);
    return faults;
  }

  async #ticket(version: TlsVersion): Promise<Buffer | undefined> {
    const { socket } = await tlsConnect({ port: this.proxy.port, ...only(version) });
    const given = version === '1.3' ? once(socket, 'session') : undefined;
    socket.write(Buffer.alloc(4));
    const session = version === '1.3' ? ((await given)?.[0] as Buffer) : socket.getSession();
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    this.#strayEnds = [];
    return session;
  }

  /** Of keeper, master and worker, once nobody else is there any more. */
  async #openFiles(): Promise<string> {
    const others = (): number[] => descendants(this.proxy.keeperPid);
    const until = performance.now() + leaveLimitMs;
    while (others().length !== 2 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    return settledFiles(() => [this.proxy.keeperPid, ...others()]);
  }
}

/** Where all visits of a round that have come so far meet; the last one in has it looked at who works meanwhile. */
class Pause {
  readonly faults: string[] = [];
  readonly #look: () => Promise<string | undefined>;
  readonly #over = Promise.withResolvers<void>();
  #missing: number;
  #looked = false;

  constructor(visits: number, look: () => Promise<string | undefined>) {
    this.#missing = visits;
    this.#look = look;
  }
  wait(): Promise<void> {
    this.leave();
    return this.#over.promise;
  }
  leave(): void {
    this.#missing--;
    if (this.#missing > 0 || this.#looked) return;
    this.#looked = true;
    void this.#look()
      .catch((error) => String(error))
      .then((fault) => {
        if (fault !== undefined) this.faults.push(fault);
        this.#over.resolve();
      });
  }
}

/** The log may have failed to name it. */
function newestWorker(keeper: number): number {
  const isWorker = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('worker');
  return Math.max(...descendants(keeper).filter((pid) => isAlive(pid) && isWorker(pid)));
}

/** CPU time of the process so far in milliseconds, exact where the kernel says so. */
function cpuMs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')[0]);
  }
  return ns / 1e6;
}

async function spinning(pid: number): Promise<string | undefined> {
  const before = cpuMs(pid);
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
  const used = cpuMs(pid) - before;
  // A loop that spins uses all of it, or nearly so beside others.
  return used > pauseMs / 3 ? `the worker used ${used.toFixed(0)} ms of CPU in ${pauseMs} ms without work` : undefined;
}

function stands({ port, plan, step, client, server }: Visit): string {
  return `port ${port}, ${describePlan(plan)}, ${step}, client ${client?.peer.ending}, backend ${server?.ending}`;
}

function describePlan({ version, leave, bytes }: Plan): string {
  return `TLS ${version}, ${bytes} bytes, ends by ${leave}`;
}

function count(endings: readonly Ending[]): Record<Ending, number> {
  const counts = { whole: 0, refused: 0, cut: 0 };
  for (const ending of endings) counts[ending]++;
  return counts;
}

async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
