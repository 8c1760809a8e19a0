// SPDX-License-Identifier: MIT
// A busy proxy with the seam in it, and rounds of visits to it. Each round says what is wrong with it: a session that was hurt for no
// reason, a byte, an end, a process that died, a thread that spins, a log that floods.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { ask } from '../../src/admin/client.ts';
import { exitCodes } from '../../src/errors.ts';
import { within } from '../../src/time-limit.ts';
import { type Engine, isKernel } from '../helpers/engines.ts';
import type { LogLine } from '../helpers/log-lines.ts';
import { descendants, isAlive, residentBytes, settledFiles } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { edit, reload } from '../helpers/reload.ts';
import { timeFactor } from '../helpers/time.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import type { TlsVersion } from '../helpers/tls-records.ts';
import { controlOf } from '../helpers/upgrade.ts';
import { Backend } from './backend.ts';
import { Pause, spinning } from './pause.ts';
import { describePlan, plansOf, type RoundKind, type Tickets } from './plans.ts';
import { Seam } from './rule.ts';
import { type Ending, Visit } from './visit.ts';

/** For all visits of a round, the pause included. */
const roundLimitMs = 20_000 * timeFactor;
/** For old masters and workers to be gone. */
const leaveLimitMs = 10_000 * timeFactor;
const upgradeLimitMs = 30_000 * timeFactor;
/** Lines a round may write besides those that each session has; an upgrade has some. */
const moreLines = 60;
/** What the keeper says of one that serves or leaves. */
const mastersEnd = 'the master died and is started again';

export interface Round {
  readonly endings: Readonly<Record<Ending, number>>;
  /** What is wrong with it. */
  readonly faults: readonly string[];
}

export class Scene {
  readonly proxy: RunningProxy;
  readonly seam: Seam;
  readonly #backend: Backend;
  readonly #tickets: Tickets = {};
  readonly #rekeys: boolean;
  #nextId = 1;
  #files = '';
  /** That serves. */
  #worker: number;
  /** Why the last upgrade that failed did. */
  lastFailure = '';

  private constructor(proxy: RunningProxy, seam: Seam, backend: Backend, rekeys: boolean) {
    this.proxy = proxy;
    this.seam = seam;
    this.#backend = backend;
    backend.portWithHeader = proxy.ports[1] ?? 0;
    this.#rekeys = rekeys;
    this.#worker = proxy.workerPid();
  }

  /** One proxy with this engine, which has served already. `rekeys`: whether the engine can follow a KeyUpdate. */
  static async open(engine: Engine, rekeys: boolean, relayThreads = 1): Promise<Scene> {
    const seam = new Seam();
    const backend = await Backend.listen();
    const { address } = backend;
    const offload = isKernel(engine) ? 'kernel' : 'userspace';
    const proxy = await startProxy({
      leaks: false,
      listeners: [{ backend: address }, { backend: address, proxy_protocol: 'v1', name: 'with-header' }],
      config: {
        offload,
        log: { level: 'info' },
        // Ends that nobody should wait for: what hangs is to be seen as such.
        timeouts: { drain: '1s', connect: '3s' },
        threads: { handshake: 1, relay: relayThreads },
      },
      env: { ...engine.env, ...seam.env },
    });
    const scene = new Scene(proxy, seam, backend, rekeys);
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
    const visits = plansOf(kind, this.#rekeys, this.#tickets).map((plan) => new Visit(this.#nextId++, plan));
    const faults: string[] = [];
    const pause = new Pause(visits.length, async () => {
      await during?.();
      return spinning(this.#worker);
    });
    const runs = visits.map(async (visit, i) => {
      this.#backend.visits.set(visit.id, visit);
      let waited = false;
      const ending = await visit.run(this.proxy.ports[i % 2] ?? 0, () => {
        waited = true;
        return pause.wait();
      });
      if (!waited) pause.leave();
      return ending;
    });
    const limitMs = during === undefined ? roundLimitMs : 2 * roundLimitMs;
    const endings = await within<Ending[] | undefined>(Promise.all(runs), limitMs, () => undefined);
    if (endings === undefined) faults.push(...visits.map((visit) => `not over after ${limitMs} ms: ${stands(visit)}`));
    for (const visit of visits) {
      faults.push(...visit.faults.map((text) => `visit of port ${visit.port}, ${describePlan(visit.plan)}: ${text}`));
      this.#backend.visits.delete(visit.id);
    }
    faults.push(...this.#backend.takeStrayEnds(), ...pause.faults);
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
    this.#backend.close();
    await this.proxy.stop();
    this.seam.close();
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
    // An exception that nobody has caught.
    const died = (line: LogLine) =>
      line.error_msg === mastersEnd && line.error_desc === `exit code ${exitCodes.internal}`;
    if (log.lines.slice(from).some(died)) faults.push('a master ended with an internal error');
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
    await wait(50);
    this.#backend.takeStrayEnds();
    return session;
  }

  /** Of keeper, master and worker, once nobody else is there any more. */
  async #openFiles(): Promise<string> {
    const others = (): number[] => descendants(this.proxy.keeperPid);
    const until = performance.now() + leaveLimitMs;
    while (others().length !== 2 && performance.now() < until) await wait(20);
    return settledFiles(() => [this.proxy.keeperPid, ...others()]);
  }
}

/** The log may have failed to name it. */
function newestWorker(keeper: number): number {
  const isWorker = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('worker');
  return Math.max(...descendants(keeper).filter((pid) => isAlive(pid) && isWorker(pid)));
}

function stands({ port, plan, step, client, server }: Visit): string {
  return `port ${port}, ${describePlan(plan)}, ${step}, client ${client?.peer.ending}, backend ${server?.ending}`;
}

function count(endings: readonly Ending[]): Record<Ending, number> {
  const counts = { whole: 0, refused: 0, cut: 0 };
  for (const ending of endings) counts[ending]++;
  return counts;
}
