// SPDX-License-Identifier: MIT
// The candidate as the serving master sees it: asked for, watched until it is ready, committed or ended.

import type { Keeper } from '../master/keeper.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { within } from '../time-limit.ts';
import { type Link, openLink } from '../worker/link.ts';
import type { Installation } from './installation.ts';
import { type PeerWorker, servingShapes, type ToCandidate, type ToServing } from './peer.ts';
import { Witness } from './witness.ts';

/** For the keeper to tell that an aborted candidate has ended. */
const endLimitMs = 5_000;

export class Standby {
  /** Settles when its worker is ready, and the keeper knows. */
  readonly ready: Promise<void>;
  /** Settles when it serves, and we leave. */
  readonly committed: Promise<void>;
  /** After that: when its worker takes connections. */
  readonly serving: Promise<void>;
  /** After that: what became of the keeper, `replaced` or why it stays. */
  readonly keeperOutcome: Promise<string>;
  readonly #keeper: Keeper;
  readonly #link: Link<ToCandidate>;
  readonly #onReady = Promise.withResolvers<void>();
  readonly #onCommitted = Promise.withResolvers<void>();
  readonly #onServing = Promise.withResolvers<void>();
  readonly #onEnded = Promise.withResolvers<void>();
  readonly #takers: Witness[] = [];
  #missing = 2;
  #ending = false;
  #lastWords: string | undefined;

  constructor(keeper: Keeper, installation: Installation, args: readonly string[]) {
    this.#keeper = keeper;
    this.ready = this.#onReady.promise;
    this.committed = this.#onCommitted.promise;
    this.serving = this.#onServing.promise;
    // Whoever waits for one of them hears of its failure; the others must not end the process.
    for (const promise of [this.ready, this.committed, this.serving]) promise.catch(() => {});
    keeper.onCandidate = (event) => {
      if (event.type === 'ready') this.#oneReady();
      if (event.type === 'ended') this.#ended(event.reason);
    };
    this.keeperOutcome = new Promise((resolve) => {
      keeper.onKeeper = resolve;
    });
    keeper.onRole = (role) => {
      if (role === 'leaving') this.#onCommitted.resolve();
    };
    const { a, b } = native.socketPair();
    this.#link = openLink<ToCandidate, ToServing>({
      fd: a,
      onMessage: (message, fds) => {
        this.#onMessage(message, fds);
      },
      // The keeper tells how it has ended.
      onClose: () => {},
      onMismatch: (error) => this.#fail(error),
      shapes: servingShapes,
    });
    const { keeper: program, node, master } = installation;
    try {
      keeper.candidate(program, [node, '--disable-sigusr1', master, ...args], b);
    } catch (error) {
      this.#link.close();
      throw error;
    } finally {
      native.closeFd({ fd: b });
    }
  }

  /** The workers that it has started so far. */
  get takers(): readonly Witness[] {
    return this.#takers;
  }

  /** Descriptors are borrowed. */
  send(message: ToCandidate, fds?: readonly number[]): void {
    this.#link.send(message, fds);
  }

  /** Whether we have had enough of it: it must not be made to serve any more. */
  get ending(): boolean {
    return this.#ending;
  }

  /** Settles when nothing of it is left, or after a while. */
  async end(): Promise<void> {
    this.#ending = true;
    this.#keeper.abort();
    const settled = Promise.race([this.#onEnded.promise, this.committed.catch(() => this.#onEnded.promise)]);
    await within(settled, endLimitMs, () => undefined);
    if (this.#keeper.role !== 'serving') return;
    this.#link.close();
    for (const taker of this.#takers) taker.close();
  }

  #onMessage(message: ToServing, [page, pidfd, ...rest]: readonly number[]): void {
    if (message.type === 'worker' && page !== undefined && pidfd !== undefined) {
      this.#follow(message.worker, page, pidfd);
    } else {
      for (const fd of [page, pidfd]) if (fd !== undefined) native.closeFd({ fd });
    }
    for (const fd of rest) native.closeFd({ fd });
    if (message.type === 'ready') this.#oneReady();
    if (message.type === 'failed') this.#lastWords = message.error;
    if (message.type === 'serving') this.#onServing.resolve();
  }

  /** A master that follows a dead one tells of its worker again. */
  #follow(worker: PeerWorker, page: number, pidfd: number): void {
    if (this.#takers.some(({ id }) => id === worker.id)) {
      for (const fd of [page, pidfd]) native.closeFd({ fd });
      return;
    }
    try {
      this.#takers.push(new Witness({ ...worker, page, pidfd }));
    } catch (error) {
      // The report will lack what it counts.
      log('error', 'system_error', failure(`can't follow worker ${worker.id} of the new version`, error));
    }
  }

  #oneReady(): void {
    this.#missing -= 1;
    if (this.#missing === 0) this.#onReady.resolve();
  }

  #ended(reason: string): void {
    this.#onEnded.resolve();
    this.#fail(this.#lastWords ?? `it ended during start (${reason})`);
  }

  #fail(reason: string): void {
    const error = new Error(`the new version: ${reason}`);
    for (const { reject } of [this.#onReady, this.#onCommitted, this.#onServing]) reject(error);
  }
}
