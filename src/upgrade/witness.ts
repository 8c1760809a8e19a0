// SPDX-License-Identifier: MIT
// A worker as the report of an upgrade sees it: what it counts, and whether it lives. Both can be told of any master's worker, also
// when it was killed.
import type { Tally } from '../master/tally.ts';
import { readPage } from '../master/tally.ts';
import { native, type Pauses } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { type EngineCounters, knownCounters } from '../worker/counters.ts';

export interface Testimony {
  readonly alive: boolean;
  readonly counters: EngineCounters;
  readonly pauses: Pauses;
  /** The page can't be read: its numbers are all 0. */
  readonly unread?: boolean;
}

export class Witness {
  readonly id: number;
  readonly pid: number;
  readonly page: number;
  readonly pidfd: number;
  #alive = true;
  #unread = false;
  readonly #stopWatching: () => void;

  /** Takes both descriptors, also where it throws. */
  constructor({ id, pid, page, pidfd }: Pick<Witness, 'id' | 'pid' | 'page' | 'pidfd'>) {
    this.id = id;
    this.pid = pid;
    this.page = page;
    this.pidfd = pidfd;
    const onExit = () => {
      this.#alive = false;
    };
    try {
      this.#stopWatching = native.watchExit({ pidfd, onExit });
    } catch (error) {
      closeAll([page, pidfd]);
      throw error;
    }
  }

  /** Of a worker that is counted here; undefined where there is none, or it has ended. */
  static of(tally: Tally, worker: { readonly id: number; readonly pid: number } | undefined): Witness | undefined {
    const found = worker && tally.descriptorsOf(worker.id);
    if (worker === undefined || found === undefined) return undefined;
    const page = native.duplicateFd({ fd: found.page });
    let pidfd: number;
    try {
      pidfd = native.duplicateFd({ fd: found.pidfd });
    } catch (error) {
      closeAll([page]);
      throw error;
    }
    return new Witness({ ...worker, page, pidfd });
  }

  /** Another version may count in a page of another form. */
  read(): Testimony {
    // In this order: what it does last is counted when it is seen to be dead.
    const alive = this.#alive;
    try {
      return { alive, ...readPage(this.page) };
    } catch (error) {
      if (!this.#unread) log('warn', 'system_error', failure(`can't read what worker ${this.id} counts`, error));
      this.#unread = true;
      return { alive, unread: true, counters: knownCounters({}), pauses: { longestUs: 0, p99Us: 0 } };
    }
  }

  close(): void {
    this.#stopWatching();
    closeAll([this.page, this.pidfd]);
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) native.closeFd({ fd });
}
