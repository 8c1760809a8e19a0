// SPDX-License-Identifier: MIT
// The soak itself: cycle after cycle the crowd comes until no descriptor is left, an upgrade, the crowd leaves, now and then a kill.
import { setTimeout as wait } from 'node:timers/promises';
import { Helper } from '../bench.d/helper.ts';
import type { BackendCalls } from './backend.ts';
import type { CrowdCalls, CrowdCounts } from './crowd.ts';
import { History, type KillNote, type LostByClients, type UpgradeNote } from './history.ts';
import type { ProbeCalls } from './probe.ts';
import { Service } from './service.ts';
import type { VisitorCalls } from './visitors.ts';

export interface SoakOptions {
  readonly cycles: number;
  readonly cycleMs: number;
  /** A worker's limit of open files. */
  readonly files: number;
  /** Idle sessions that stay all the time. */
  readonly idle: number;
  readonly visitors: number;
  readonly guests: number;
  readonly pauseMs: number;
  readonly seed: number;
  readonly engine: string;
  /** A worker is killed in every so many cycles; 0: never. The same for masters. */
  readonly killEvery: number;
  readonly killMasterEvery: number;
  readonly upgradeEvery: number;
}

const glanceEveryMs = 2_000;
const crowds = 2;
const visitorProcesses = 2;
/** For the crowd to use up the descriptors: part of a cycle. */
const fillPart = 0.5;
const fullMs = 3_000;
const leaveLimitMs = 20_000;
/** A request and a handshake. */
const probeSessions = 2;
const noticeMs = 2_000;
const calmLeastMs = 5_000;
const quietMs = 5_000;
const stopLimitMs = 120_000;
const emptyLimitMs = 30_000;

export class Soak {
  readonly history: History;
  readonly #options: SoakOptions;
  readonly #say: (text: string) => void;
  readonly #backend = new Helper<BackendCalls>('../soak.d/backend.ts');
  readonly #crowds = Array.from({ length: crowds }, () => new Helper<CrowdCalls>('../soak.d/crowd.ts'));
  readonly #visitors = Array.from(
    { length: visitorProcesses },
    () => new Helper<VisitorCalls>('../soak.d/visitors.ts'),
  );
  readonly #probe = new Helper<ProbeCalls>('../soak.d/probe.ts');
  #service: Service | undefined;
  #glancing: Promise<void> = Promise.resolve();
  #over = false;

  constructor(options: SoakOptions, say: (text: string) => void) {
    this.#options = options;
    this.history = new History(options.visitors);
    this.#say = say;
  }

  async run(): Promise<void> {
    const { files, engine, cycles, cycleMs } = this.#options;
    const service = await Service.start({ backends: await this.#backend.call('listen'), files, engine });
    this.#service = service;
    // A base that has been through an upgrade, as everything that is compared with it.
    await this.#untilServing();
    await service.upgrade();
    await this.#untilAlone();
    await this.#quiet('base');
    await this.#open();
    this.#glancing = this.#glanceOften();
    const started = performance.now();
    for (let cycle = 0; cycle < cycles; cycle++) {
      await this.#cycle(cycle, started + (cycle + 1) * cycleMs);
    }
    await this.#close();
  }

  async end(): Promise<void> {
    this.#over = true;
    await this.#glancing;
    const all = [this.#backend, this.#probe, ...this.#crowds, ...this.#visitors];
    await Promise.all(all.map((helper) => helper.end()));
    await this.#service?.stop().catch((error: Error) => this.history.fault('the end', error.message));
  }

  get #running(): Service {
    if (this.#service === undefined) throw new Error('not started');
    return this.#service;
  }

  async #open(): Promise<void> {
    const { ports } = this.#running;
    const { idle, visitors, guests, pauseMs, seed } = this.#options;
    for (const [i, crowd] of this.#crowds.entries()) {
      await crowd.call('at', { port: ports.plain, localAddress: `127.0.0.${i + 2}` });
    }
    await this.#want(idle);
    await this.#untilCrowd(idle);
    const share = (of: number) => Math.ceil(of / visitorProcesses);
    for (const [i, each] of this.#visitors.entries()) {
      await each.call('start', { ports, visitors: share(visitors), guests: share(guests), pauseMs, seed: seed + i });
    }
    await this.#probe.call('start', { port: ports.plain });
  }

  async #cycle(cycle: number, until: number): Promise<void> {
    const due = (every: number, phase: number) => every > 0 && cycle % every === every - 1 - (phase % every);
    this.history.cycles++;
    await this.#fill(until);
    await wait(fullMs);
    await this.#mark('full');
    if (due(this.#options.upgradeEvery, 0)) await this.#upgrade();
    await wait(fullMs);
    await this.#ping();
    await this.#want(this.#options.idle);
    await this.#untilAlone();
    await this.#untilLeft();
    if (due(this.#options.killEvery, 0)) await this.#killWorker();
    if (due(this.#options.killMasterEvery, 2)) await this.#killMaster();
    await this.#untilCrowd(this.#options.idle);
    // Whoever came for the limit has gone by now.
    await wait(1_000);
    const calmFrom = Date.now();
    await wait(Math.max(calmLeastMs, until - performance.now()));
    await this.#readProbe();
    this.history.calm.push({ from: calmFrom, to: Date.now() });
    await this.#mark('calm');
  }

  /** The crowd comes until the worker takes nobody any more; then some leave, so that visitors squeeze through. */
  async #fill(until: number): Promise<void> {
    const { files, cycleMs, visitors } = this.#options;
    const limit = until - cycleMs * (1 - fillPart);
    const before = (await this.#running.status())?.counters.accept_pauses ?? 0;
    await this.#want(files);
    for (;;) {
      const pauses = (await this.#running.status())?.counters.accept_pauses ?? 0;
      if (pauses > before + 1) break;
      if (performance.now() > limit) {
        this.history.notFull++;
        break;
      }
      await wait(100);
    }
    // Those that are on their way come as well where somebody leaves; the visitors share what is left.
    await Promise.all(this.#crowds.map((crowd) => crowd.call('enough')));
    await wait(fullMs);
    const open = sum(await this.#counts(), 'open');
    await this.#want(open - Math.ceil(visitors / 2));
    this.history.mark('full', `${open} idle`);
  }

  async #upgrade(): Promise<void> {
    const at = this.history.now();
    const started = performance.now();
    try {
      const { sessions, generation } = await this.#running.upgrade();
      const { moved, kept, lost, reason = '', pauses, handshakes } = sessions;
      const ms = performance.now() - started;
      const note: UpgradeNote = { at, ms, moved, kept, lost, reason, longestPauseUs: pauses.longest_us, handshakes };
      this.history.upgrades.push(note);
      const why = kept > 0 ? `, ${kept} stay (${reason})` : '';
      this.#say(`upgrade to generation ${generation}: ${moved} moved, ${lost} lost${why}, ${Math.round(ms)} ms`);
    } catch (error) {
      this.history.fault('upgrade', (error as Error).message);
    }
    this.history.mark('upgrade');
  }

  async #killWorker(): Promise<void> {
    const service = this.#running;
    const { log } = service;
    const before = await this.#lostByClients();
    const worker = (await service.status())?.worker;
    if (!worker) return this.history.fault('kill', 'no worker to kill');
    for (const each of this.#visitors) await each.call('killing');
    log.read();
    const { length } = log.deaths;
    const at = this.history.now();
    process.kill(worker.pid, 'SIGKILL');
    await this.#until('a killed worker is replaced', async () => {
      log.read();
      const now = (await service.status())?.worker;
      return log.deaths.length > length && now !== undefined && now !== null && now.pid !== worker.pid;
    });
    const after = await this.#untilNoticed();
    for (const each of this.#visitors) await each.call('killing');
    await this.#untilCrowd(this.#options.idle);
    const told = Number(log.deaths.at(length)?.sessions_lost ?? Number.NaN);
    const note: KillNote = { at, told, least: after.certain - before.certain, most: after.all - before.all };
    this.history.kills.push(note);
    this.history.mark('kill');
    this.#say(
      `worker ${worker.pid} killed: its log tells ${told} sessions, clients miss ${note.least} to ${note.most}`,
    );
  }

  async #killMaster(): Promise<void> {
    const service = this.#running;
    const master = (await service.status())?.master;
    if (master === undefined) return this.history.fault('kill', 'no master to kill');
    process.kill(master.pid, 'SIGKILL');
    await this.#until('a killed master is replaced', async () => {
      const now = await service.status();
      return now !== undefined && now.worker !== null && now.master.pid !== master.pid;
    });
    this.history.mastersKilled++;
    this.history.mark('master killed');
    this.#say(`master ${master.pid} killed and replaced`);
  }

  /** Once no more clients notice that they have been cut. */
  async #untilNoticed() {
    for (let last = await this.#lostByClients(); ; ) {
      await wait(noticeMs);
      const now = await this.#lostByClients();
      if (now.all === last.all) return now;
      last = now;
    }
  }

  /** Sessions that clients have lost so far: those that had had an answer, and all that may have been sessions. */
  async #lostByClients(): Promise<LostByClients> {
    const crowd = await this.#counts();
    const visitors = await Promise.all(this.#visitors.map((each) => each.call('counts')));
    await this.#readProbe();
    const idle = sum(crowd, 'lost');
    const certain = idle + sum(visitors, 'lostAnswered');
    const all = idle + sum(crowd, 'refused') + sum(visitors, 'lost') + this.history.lostByProbe;
    return { certain, all };
  }

  async #ping(): Promise<void> {
    const silent = await Promise.all(this.#crowds.map((crowd) => crowd.call('ping')));
    const all = silent.reduce((a, b) => a + b, 0);
    if (all > 0) this.history.fault('idle sessions', `${all} don't answer after an upgrade`);
  }

  #counts(): Promise<readonly CrowdCounts[]> {
    return Promise.all(this.#crowds.map((crowd) => crowd.call('counts')));
  }

  async #want(all: number): Promise<void> {
    await Promise.all(this.#crowds.map((crowd, i) => crowd.call('want', Math.floor((all + i) / crowds))));
  }

  #untilCrowd(count: number): Promise<void> {
    return this.#until(`${count} idle sessions are open`, async () => sum(await this.#counts(), 'open') === count);
  }

  #untilServing(): Promise<void> {
    return this.#until('a worker serves', async () => (await this.#running.glance()) !== undefined);
  }

  /** The worker knows of nobody who has left: a session of theirs would be lost to it alone. */
  #untilLeft(): Promise<void> {
    const { idle, visitors, guests } = this.#options;
    const most = idle + visitors + guests + probeSessions;
    const left = async () => ((await this.#running.status())?.sessions.open ?? Number.POSITIVE_INFINITY) <= most;
    return this.#until('the sessions of the crowd have ended', left);
  }

  /** No process of an earlier generation is left. */
  async #untilAlone(): Promise<void> {
    const alone = async () => (await this.#running.glance())?.processes === 3;
    await this.#until('the old worker has ended', alone);
  }

  /** Noted where it does not come true. */
  async #until(what: string, isSo: () => Promise<boolean>, limitMs = leaveLimitMs): Promise<void> {
    const until = performance.now() + limitMs;
    while (!(await isSo())) {
      if (performance.now() > until) return this.history.fault('waiting', `not within ${limitMs / 1000} s: ${what}`);
      await wait(100);
    }
  }

  async #glanceOften(): Promise<void> {
    while (!this.#over) {
      this.#running.log.read();
      const glance = await this.#running.glance();
      if (glance !== undefined) this.history.glance(glance);
      await wait(glanceEveryMs);
    }
  }

  /** A point that is compared with the same of other cycles. */
  async #mark(point: 'calm' | 'full'): Promise<void> {
    const glance = await this.#running.glance();
    if (glance === undefined) this.history.fault('glance', `nothing to be seen at the point "${point}"`);
    else this.history.glance(glance, point);
  }

  async #readProbe(): Promise<void> {
    this.history.probed(await this.#probe.call('take'));
  }

  /** No traffic: how much CPU time passes, and what is there. */
  async #quiet(point: 'base' | 'end'): Promise<void> {
    const before = this.#running.cpu();
    await wait(quietMs);
    this.history.quietCpu[point] = (this.#running.cpu() - before) / (quietMs / 1000);
    const glance = await this.#running.glance();
    if (glance === undefined) this.history.fault('glance', `nothing to be seen at the ${point}`);
    else this.history.glance(glance, point);
  }

  async #close(): Promise<void> {
    const service = this.#running;
    this.#say('the traffic stops');
    const stopped = Promise.all([this.#probe.call('stop'), ...this.#visitors.map((each) => each.call('stop'))]);
    await Promise.race([
      stopped,
      wait(stopLimitMs).then(() => this.history.fault('visitors', 'they do not come to an end')),
    ]);
    await this.#readProbe();
    await this.#want(0);
    const isEmpty = async () => {
      const status = await service.status();
      return status?.counters.connections_open === 0 && status.sessions.open === 0;
    };
    await this.#until('no connection is open', isEmpty, emptyLimitMs);
    const noBackend = async () => (await this.#backend.call('open')) === 0;
    await this.#until('no connection to the backend is open', noBackend, emptyLimitMs);
    await this.#quiet('end');
    this.#over = true;
    await this.#glancing;
    service.log.read();
    const crowd = await this.#counts();
    const visitors = await Promise.all(this.#visitors.map((each) => each.call('counts')));
    const status = await service.status();
    this.history.finish({
      crowd,
      visitors,
      lost: await this.#lostByClients(),
      sessions: status?.sessions.total ?? Number.NaN,
      counters: status?.counters,
      ended: service.log.ended,
      reasons: Object.fromEntries(service.log.reasons),
      workersDied: service.log.deaths.length,
      mastersDied: service.log.mastersDied,
      logBytes: service.log.bytes,
      strange: service.log.strange,
      strangeCount: service.log.strangeCount,
    });
  }
}

function sum<K extends string>(of: readonly Readonly<Record<K, number>>[], key: K): number {
  return of.reduce((all, each) => all + each[key], 0);
}
