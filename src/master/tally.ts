// SPDX-License-Identifier: MIT
// What the workers of the service count, this master's and those that upgrades have left behind. Each counts in a page of memory that
// the keeper holds beside its pidfd: so the numbers are there without asking, for every master, and also when a worker was killed.
import { counterNames, native, type Pauses } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { type EngineCounters, knownCounters } from '../worker/counters.ts';
import type { Keeper } from './keeper.ts';
import type { StateStore } from './state.ts';
import { addCounters, endedCounters, withoutOverlap } from './totals.ts';

export interface CountedWorker {
  readonly id: number;
  readonly pid: number;
  readonly counters: EngineCounters;
}

export type EndedWorker = Pick<CountedWorker, 'id' | 'counters'>;

interface Page {
  readonly fd: number;
  pid: number;
  pidfd: number;
  stopWatching: () => void;
}

const pageName = (id: number): string => `counted:${id}:page`;
const pidfdName = (id: number, pid: number): string => `counted:${id}:pidfd:${pid}`;
/** Of workers that start and die again and again; those that are asked for are the last. */
const mostEnded = 64;
const names = /^counted:(\d+):(?:page|pidfd:(\d+))$/;

const ofMoving = ['sessions_open', 'sessions_given', 'sessions_taken', 'handoffs_open'] as const;
const mostReads = 10;

/** What a page says now. `fd` is borrowed. */
export function readPage(fd: number): { readonly counters: EngineCounters; readonly pauses: Pauses } {
  const { counters, pauses } = native.readCounters({ fd });
  return { counters: knownCounters(counters), pauses };
}

export class Tally {
  readonly #keeper: Keeper;
  readonly #state: StateStore;
  readonly #pages = new Map<number, Page>();
  /** By id of the worker that takes sessions, the one that gives them. */
  readonly #donors = new Map<number, number>();
  /** The last word of those that have ended since this master began, oldest first; not of all. */
  readonly #ended = new Map<number, EngineCounters>();
  #lost = 0;

  /** Takes what the keeper holds. */
  constructor(keeper: Keeper, state: StateStore) {
    this.#keeper = keeper;
    this.#state = state;
    const pidfds = [...keeper.held].flatMap(([name, fd]) => {
      const [, id, pid] = names.exec(name) ?? [];
      if (id === undefined) return [];
      if (pid !== undefined) return [[Number(id), Number(pid), fd] as const];
      this.#pages.set(Number(id), { fd, pid: 0, pidfd: -1, stopWatching: () => {} });
      return [];
    });
    for (const [id, pid, fd] of pidfds) this.#follow(id, pid, fd);
    for (const [id, { pidfd }] of this.#pages) {
      // It was never started, or its numbers have been added already.
      if (pidfd === -1 || id === state.current.counted) this.#drop(id);
    }
  }

  /** Makes the page of a worker that is about to start. Where it or started() throws, ended() is to be called all the same. */
  open(id: number, threads: number): void {
    const fd = native.makeCounters({ names: counterNames, threads });
    this.#pages.set(id, { fd, pid: 0, pidfd: -1, stopWatching: () => {} });
    this.#keeper.put(pageName(id), fd);
  }

  /** The process that counts in it. */
  started(id: number, pid: number): void {
    const pidfd = native.pidfdOpen({ pid });
    try {
      this.#keeper.put(pidfdName(id, pid), pidfd);
    } catch (error) {
      native.closeFd({ fd: pidfd });
      throw error;
    }
    this.#follow(id, pid, pidfd);
  }

  /** A worker of another master; both descriptors are taken, also where it throws. */
  add(id: number, pid: number, page: number, pidfd: number): void {
    if (this.#pages.has(id) || this.#ended.has(id)) {
      for (const fd of [page, pidfd]) native.closeFd({ fd });
      return;
    }
    this.#pages.set(id, { fd: page, pid, pidfd, stopWatching: () => {} });
    try {
      this.#keeper.put(pageName(id), page);
      this.#keeper.put(pidfdName(id, pid), pidfd);
      this.#follow(id, pid, pidfd);
    } catch (error) {
      this.#drop(id);
      throw error;
    }
  }

  /** Its process has ended, or there was none: what it has counted stays. */
  ended(id: number): void {
    const page = this.#pages.get(id);
    if (page === undefined) return;
    const counters = this.#read(page);
    this.#ended.set(id, counters);
    const [oldest] = this.#ended.keys();
    if (oldest !== undefined && this.#ended.size > mostEnded) this.#ended.delete(oldest);
    this.#lost += counters.sessions_open;
    // In this order: a master that dies in between leaves a page that its successor knows to be counted.
    const countersBefore = addCounters(endedCounters(counters), this.#state.current.countersBefore);
    this.#state.update({ countersBefore, counted: id });
    this.#drop(id);
  }

  /** Workers of this master with this number or a later one that have ended. */
  endedFrom(first: number): readonly EndedWorker[] {
    return [...this.#ended].filter(([id]) => id >= first).map(([id, counters]) => ({ id, counters }));
  }

  /** One that another master has seen the end of. */
  addEnded(id: number, counters: EngineCounters): void {
    if (this.#pages.has(id) || this.#ended.has(id)) return;
    this.#ended.set(id, counters);
    const { countersBefore } = this.#state.current;
    this.#state.update({ countersBefore: addCounters(endedCounters(counters), countersBefore) });
  }

  /** Sessions go from the one to the other. */
  moving(donor: number, recipient: number): void {
    this.#donors.set(recipient, donor);
  }

  /** Sessions that workers have owned when they died, since this master began; those that another one has taken over are among them. */
  get lost(): number {
    return this.#lost;
  }

  /** Borrowed; undefined without such a worker. */
  descriptorsOf(id: number): { readonly page: number; readonly pidfd: number } | undefined {
    const page = this.#pages.get(id);
    return page && { page: page.fd, pidfd: page.pidfd };
  }

  /** Of one worker, also when it has ended. */
  of(id: number): EngineCounters | undefined {
    const page = this.#pages.get(id);
    return page === undefined ? this.#ended.get(id) : this.#read(page);
  }

  /** Those that live, oldest first. */
  get workers(): readonly CountedWorker[] {
    return [...this.#pages]
      .filter(([, { pidfd }]) => pidfd !== -1)
      .sort(([a], [b]) => a - b)
      .map(([id, page]) => ({ id, pid: page.pid, counters: this.#read(page) }));
  }

  /** Of all workers that there have been; what is open, of those that live. */
  get totals(): EngineCounters {
    // Donors come first: what moves meanwhile shows twice, which can be told, and not never.
    const read = new Map(this.#moment().map(({ id, counters }) => [id, counters]));
    let sum = addCounters(knownCounters({}), this.#state.current.countersBefore);
    for (const counters of read.values()) sum = addCounters(sum, counters);
    for (const [recipient, donor] of this.#donors) {
      const ended = this.#ended.get(donor);
      const [to, from] = [read.get(recipient), read.get(donor) ?? (ended && endedCounters(ended))];
      if (to !== undefined && from !== undefined) sum = withoutOverlap(sum, from, to);
    }
    return sum;
  }

  /** Workers count on while they are read: where sessions move, the same twice is how things stood at one moment. */
  #moment(): readonly CountedWorker[] {
    let now = this.workers;
    for (let tries = 0; this.#donors.size > 0 && tries < mostReads; tries++) {
      const before = now;
      now = this.workers;
      const same = now.every(({ counters }, index) =>
        ofMoving.every((name) => counters[name] === before[index]?.counters[name]),
      );
      if (same) break;
    }
    return now;
  }

  #read({ fd }: Page): EngineCounters {
    try {
      return readPage(fd).counters;
    } catch (error) {
      log('error', 'system_error', failure("can't read what a worker counts", error));
      return knownCounters({});
    }
  }

  #follow(id: number, pid: number, pidfd: number): void {
    const page = this.#pages.get(id);
    if (page === undefined) {
      native.closeFd({ fd: pidfd });
      this.#keeper.drop(pidfdName(id, pid));
      return;
    }
    Object.assign(page, { pid, pidfd });
    page.stopWatching = native.watchExit({ pidfd, onExit: () => this.ended(id) });
  }

  #drop(id: number): void {
    const page = this.#pages.get(id);
    if (page === undefined) return;
    this.#pages.delete(id);
    page.stopWatching();
    native.closeFd({ fd: page.fd });
    if (page.pidfd !== -1) native.closeFd({ fd: page.pidfd });
    this.#keeper.drop(pageName(id));
    if (page.pidfd !== -1) this.#keeper.drop(pidfdName(id, page.pid));
  }
}
