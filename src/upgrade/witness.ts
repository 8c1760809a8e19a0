// SPDX-License-Identifier: MIT
// A worker as the report of an upgrade sees it: what it counts, and whether it lives. Both can be told of any master's worker, also
// when it was killed.
import type { Tally } from '../master/tally.ts';
import { readPage } from '../master/tally.ts';
import { native, type Pauses } from '../native.ts';
import type { EngineCounters } from '../worker/counters.ts';

export interface Testimony {
  readonly alive: boolean;
  readonly counters: EngineCounters;
  readonly pauses: Pauses;
}

export class Witness {
  readonly id: number;
  readonly pid: number;
  readonly page: number;
  readonly pidfd: number;
  #alive = true;
  readonly #stopWatching: () => void;

  /** Takes both descriptors. */
  constructor({ id, pid, page, pidfd }: Pick<Witness, 'id' | 'pid' | 'page' | 'pidfd'>) {
    this.id = id;
    this.pid = pid;
    this.page = page;
    this.pidfd = pidfd;
    this.#stopWatching = native.watchExit({
      pidfd,
      onExit: () => {
        this.#alive = false;
      },
    });
  }

  /** Of a worker that is counted here; undefined where there is none, or it has ended. */
  static of(tally: Tally, worker: { readonly id: number; readonly pid: number } | undefined): Witness | undefined {
    const found = worker && tally.descriptorsOf(worker.id);
    if (worker === undefined || found === undefined) return undefined;
    const [page, pidfd] = [native.duplicateFd({ fd: found.page }), native.duplicateFd({ fd: found.pidfd })];
    return new Witness({ ...worker, page, pidfd });
  }

  read(): Testimony {
    // In this order: what it does last is counted when it is seen to be dead.
    const alive = this.#alive;
    return { alive, ...readPage(this.page) };
  }

  close(): void {
    this.#stopWatching();
    for (const fd of [this.page, this.pidfd]) native.closeFd({ fd });
  }
}
