// SPDX-License-Identifier: MIT
// The soak itself: cycle after cycle the crowd comes until no descriptor is left, an upgrade, the crowd leaves, now and then a kill.
import { setTimeout as wait } from 'node:timers/promises';
import { within } from '../../src/time-limit.ts';
import { Clients, probeSessions, type TrafficOptions } from './clients.ts';
import { History, type KillNote, type UpgradeNote } from './history.ts';
import { Service } from './service.ts';
import { Watch } from './watch.ts';

export interface SoakOptions extends TrafficOptions {
  readonly cycles: number;
  readonly cycleMs: number;
  /** A worker's limit of open files. */
  readonly files: number;
  /** Idle sessions that stay all the time. */
  readonly idle: number;
  readonly engine: string;
  /** A worker is killed in every so many cycles; 0: never. The same for masters. */
  readonly killEvery: number;
  readonly killMasterEvery: number;
  readonly upgradeEvery: number;
}

/** Of a worker's own, and room for a crowd. */
const moreFiles = 128;

/** Limit of open files (`--files`) that leaves a worker some, with two for each who is always there. */
export function fewestFiles({ idle, visitors, guests }: Pick<SoakOptions, 'idle' | 'visitors' | 'guests'>): number {
  return 2 * (idle + visitors + guests + probeSessions) + moreFiles;
}

/** For the crowd to use up the descriptors: part of a cycle. */
const fillPart = 0.5;
const fullMs = 3_000;
const leaveLimitMs = 20_000;
const calmLeastMs = 5_000;
const stopLimitMs = 120_000;
const emptyLimitMs = 30_000;

export class Soak {
  readonly history: History;
  readonly #options: SoakOptions;
  readonly #say: (text: string) => void;
  readonly #clients: Clients;
  #service: Service | undefined;
  #watch: Watch | undefined;

  constructor(options: SoakOptions, say: (text: string) => void) {
    this.#options = options;
    this.history = new History(options.visitors);
    this.#clients = new Clients(this.history);
    this.#say = say;
  }

  async run(): Promise<void> {
    const { files, engine, cycles, cycleMs } = this.#options;
    const service = await Service.start({ backends: await this.#clients.listen(), files, engine });
    this.#service = service;
    const watch = new Watch(service, this.history);
    this.#watch = watch;
    // A base that has been through an upgrade, as everything that is compared with it.
    await this.#untilServing();
    await service.upgrade();
    await this.#untilAlone();
    await watch.quiet('base');
    await this.#open();
    watch.start();
    const started = performance.now();
    for (let cycle = 0; cycle < cycles; cycle++) {
      await this.#cycle(watch, cycle, started + (cycle + 1) * cycleMs);
    }
    await this.#close(watch);
  }

  async end(): Promise<void> {
    await this.#watch?.stop();
    await this.#clients.end();
    await this.#service?.stop().catch((error: Error) => this.history.fault('the end', error.message));
  }

  get #running(): Service {
    if (this.#service === undefined) throw new Error('not started');
    return this.#service;
  }

  async #open(): Promise<void> {
    const { ports } = this.#running;
    const { idle } = this.#options;
    await this.#clients.meet(ports.plain);
    await this.#clients.want(idle);
    await this.#untilCrowd(idle);
    await this.#clients.startTraffic(ports, this.#options);
  }

  async #cycle(watch: Watch, cycle: number, until: number): Promise<void> {
    const due = (every: number, phase: number) => every > 0 && cycle % every === every - 1 - (phase % every);
    this.history.cycles++;
    await this.#fill(until);
    await wait(fullMs);
    await watch.mark('full');
    if (due(this.#options.upgradeEvery, 0)) await this.#upgrade();
    await wait(fullMs);
    await this.#ping();
    await this.#clients.want(this.#options.idle);
    await this.#untilAlone();
    await this.#untilLeft();
    if (due(this.#options.killEvery, 0)) await this.#killWorker();
    if (due(this.#options.killMasterEvery, 2)) await this.#killMaster();
    await this.#untilCrowd(this.#options.idle);
    // Whoever came for the limit has gone by now.
    await wait(1_000);
    const calmFrom = Date.now();
    await wait(Math.max(calmLeastMs, until - performance.now()));
    await this.#clients.readProbe();
    this.history.calm.push({ from: calmFrom, to: Date.now() });
    await watch.mark('calm');
  }

  /** The crowd comes until the worker takes nobody any more; then some leave, so that visitors squeeze through. */
  async #fill(until: number): Promise<void> {
    const { files, cycleMs, visitors } = this.#options;
    const limit = until - cycleMs * (1 - fillPart);
    const before = (await this.#running.status())?.counters.accept_pauses ?? 0;
    await this.#clients.want(files);
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
    await this.#clients.enough();
    await wait(fullMs);
    const open = await this.#clients.idle();
    await this.#clients.want(open - Math.ceil(visitors / 2));
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
    const before = await this.#clients.lost();
    const worker = (await service.status())?.worker;
    if (!worker) return this.history.fault('kill', 'no worker to kill');
    await this.#clients.killing();
    log.read();
    const { length } = log.deaths;
    const at = this.history.now();
    process.kill(worker.pid, 'SIGKILL');
    await this.#until('a killed worker is replaced', async () => {
      log.read();
      const now = (await service.status())?.worker;
      return log.deaths.length > length && now !== undefined && now !== null && now.pid !== worker.pid;
    });
    const after = await this.#clients.lostInTheEnd();
    await this.#clients.killing();
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

  async #ping(): Promise<void> {
    const silent = await this.#clients.silent();
    if (silent > 0) this.history.fault('idle sessions', `${silent} don't answer after an upgrade`);
  }

  #untilCrowd(count: number): Promise<void> {
    return this.#until(`${count} idle sessions are open`, async () => (await this.#clients.idle()) === count);
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

  async #close(watch: Watch): Promise<void> {
    const service = this.#running;
    this.#say('the traffic stops');
    const late = () => this.history.fault('visitors', 'they do not come to an end');
    await within(this.#clients.stopTraffic(), stopLimitMs, late);
    await this.#clients.readProbe();
    await this.#clients.want(0);
    const isEmpty = async () => {
      const status = await service.status();
      return status?.counters.connections_open === 0 && status.sessions.open === 0;
    };
    await this.#until('no connection is open', isEmpty, emptyLimitMs);
    const noBackend = async () => (await this.#clients.atBackend()) === 0;
    await this.#until('no connection to the backend is open', noBackend, emptyLimitMs);
    await watch.quiet('end');
    await watch.stop();
    service.log.read();
    const status = await service.status();
    this.history.finish({
      crowd: await this.#clients.crowd(),
      visitors: await this.#clients.visitors(),
      lost: await this.#clients.lost(),
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
