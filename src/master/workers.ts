// SPDX-License-Identifier: MIT
// Keeps one worker at work: starts it or takes it over, replaces it when it dies, and ends it. While there is none, connections wait
// in the accept queues of the listeners, which we and the keeper hold open.
import { RetryError, SystemError } from '../errors.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { within } from '../time-limit.ts';
import type { HandoffStep } from '../worker/handoff-step.ts';
import { mapDescriptors, type ToMaster, type WorkerPlan } from '../worker/messages.ts';
import { nextDelay } from './backoff.ts';
import type { Keeper, ProcessEnd } from './keeper.ts';
import { SessionRequests } from './session-requests.ts';
import type { Setup } from './setup.ts';
import { monotonicMs, type StateStore } from './state.ts';
import type { Tally } from './tally.ts';
import {
  adoptWorker,
  channelName,
  killByPidfd,
  noProcess,
  pidfdName,
  spawnWorker,
  type WorkerEvents,
  type WorkerProcess,
} from './worker-process.ts';

/** A worker that is not ready by then hangs. */
const readyLimitMs = 30_000;
const takeAgainMs = 500;
/** For taking another plan: names may have to be resolved. */
const applyLimitMs = 10_000;

/** The last words of a worker. */
export type WorkerEnd = Pick<Extract<ToMaster, { type: 'drained' }>, 'cut'>;

export interface WorkersOptions {
  readonly keeper: Keeper;
  readonly state: StateStore;
  readonly tally: Tally;
  /** Asked for at every start; without a setup and its revision those at work are meant. Descriptors are borrowed. */
  readonly plan: (id: number, accepting: boolean, next?: NextSetup) => WorkerPlan;
  /** A worker was started; the tally has it. */
  readonly onSpawn?: (worker: { readonly id: number; readonly pid: number }) => void;
}

export interface NextSetup {
  readonly setup: Setup;
  readonly revision: number;
}

/** What a plan holds for. */
interface Terms {
  readonly revision: number;
  readonly accepting: boolean;
}

export class Workers {
  /** Settles when the first worker is ready. Rejects when it does not get there and nobody is served yet. */
  readonly started: Promise<void>;
  /** Settles when the last worker has ended after stop(): with its last words, if it got to them. */
  readonly ended: Promise<WorkerEnd | undefined>;

  readonly #options: WorkersOptions;
  readonly #onStarted = Promise.withResolvers<void>();
  readonly #onEnded = Promise.withResolvers<WorkerEnd | undefined>();
  #worker: WorkerProcess | undefined;
  #startedAtMs = 0;
  #ready = false;
  #delayMs = 0;
  #spawnTimer: NodeJS.Timeout | undefined;
  #readyTimer: NodeJS.Timeout | undefined;
  /** Why the worker that is about to die will have died, if we know. */
  #reason: string | undefined;
  #stopping = false;
  /** Whether workers take connections, as long as they are not stopping. */
  #accepting: boolean;
  #told: WorkerEnd | undefined;
  /** The plan that the worker has been sent, but has not yet taken. */
  #applying: (Terms & { readonly applied: PromiseWithResolvers<void> }) | undefined;
  /** Those that the worker works on, as far as it has said so. */
  #terms: Terms | undefined;
  /** The last of those that were to be taken. */
  #taken: Promise<void> = Promise.resolve();
  /** Those who wait for a worker that serves. */
  readonly #onServing = new Set<() => void>();
  readonly #sessions = new SessionRequests();

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#accepting = options.keeper.role === 'serving';
    this.started = this.#onStarted.promise;
    this.ended = this.#onEnded.promise;
  }

  /** Takes over the predecessor's worker if there is one. Otherwise starts one, unless the predecessor was `stopping`. */
  start(stopping: boolean): void {
    this.#stopping = stopping;
    const { keeper, state } = this.#options;
    const known = state.current.worker;
    const pidfd = known && keeper.held.get(pidfdName(known.id));
    const channel = known && keeper.held.get(channelName(known.id));
    const adopts = known !== undefined && pidfd !== undefined && channel !== undefined;
    this.#endStrays(adopts ? known.id : undefined);
    if (!adopts) {
      if (this.#stopping) this.#onEnded.resolve(undefined);
      else this.#spawn();
      return;
    }
    this.#expectReady();
    // How long it has lived is not known, but longer than this master.
    this.#startedAtMs = Number.NEGATIVE_INFINITY;
    this.#worker = adoptWorker({ ...known, pidfd, channel }, keeper, this.#eventsOf(known.id, known.pid));
    log('info', 'worker', { worker_state: 'adopted', worker_id: known.id, worker_pid: known.pid });
    if (this.#stopping) this.#worker.send({ type: 'drain' });
  }

  /** No more replacements: sessions may end by themselves, then the worker does. */
  stop(): void {
    this.#stopping = true;
    clearTimeout(this.#spawnTimer);
    if (this.#worker === undefined) this.#onEnded.resolve(undefined);
    else this.#worker.send({ type: 'drain' });
  }

  /** Ends every session now. After stop(). */
  end(): void {
    this.#worker?.send({ type: 'end' });
  }

  kill(): void {
    this.#worker?.kill();
  }

  reopenLog(fd: number): void {
    this.#worker?.send({ type: 'reopen_log' }, [fd]);
  }

  /** The worker at work; undefined while there is none that serves. */
  get serving(): { readonly id: number; readonly pid: number } | undefined {
    return this.#ready && this.#worker !== undefined ? { id: this.#worker.id, pid: this.#worker.pid } : undefined;
  }

  /** Has the worker take another plan, as a whole. Rejects when it can't or dies over it: then the one before holds. One at a time. */
  apply(setup: Setup, revision: number): Promise<void> {
    return this.#take({ setup, revision });
  }

  /**
   * Whether connections are taken, from now on also by a worker that comes later. Settles when the one at work does so. It keeps room for
   * those that are `expected` from another worker.
   */
  accept(accepting: boolean, expected = 0): Promise<void> {
    this.#accepting = accepting;
    const taken = this.#take(undefined, expected);
    if (accepting) {
      taken.catch((error) => {
        // It ends, and is to take nobody any more.
        if (this.#stopping) return;
        log('error', 'system_error', failure('the worker does not accept', error));
        this.#acceptLater(expected);
      });
    }
    return taken;
  }

  /** A worker that could not take its listeners, for want of a descriptor, lives on without them; who comes would wait for ever. */
  #acceptLater(expected: number): void {
    const again = (): void => {
      if (!this.#accepting || this.#stopping) return;
      this.#take(undefined, expected).catch(() => this.#acceptLater(expected));
    };
    setTimeout(again, takeAgainMs).unref();
  }

  /** One after the other. */
  #take(next?: NextSetup, expected = 0): Promise<void> {
    return this.#inTurn(() => this.#takeNow(next, expected));
  }

  #inTurn(take: () => Promise<void>): Promise<void> {
    const taken = this.#taken.then(take);
    this.#taken = taken.catch(() => {});
    return taken;
  }

  async #takeNow(next: NextSetup | undefined, expected: number): Promise<void> {
    await this.#untilServing();
    const worker = this.#worker;
    if (worker === undefined || this.#stopping) throw new RetryError('no worker is at work');
    const applied = Promise.withResolvers<void>();
    const { revision } = next ?? this.#options.state.current;
    this.#applying = { revision, accepting: this.#accepting, applied };
    try {
      this.#sendPlan(worker, 'reconfigure', next, expected);
      await within(applied.promise, applyLimitMs, () => {
        throw new RetryError('the worker does not answer');
      });
    } finally {
      this.#applying = undefined;
    }
  }

  /** Has the worker give its sessions away, as SessionRequests.give says. */
  async give(forward: (fds: readonly number[]) => void, pauseAt?: HandoffStep): Promise<string> {
    // It has ended with its last session, or is about to.
    if (this.#worker === undefined || this.#told !== undefined) return '';
    return this.#sessions.give(this.#worker, forward, pauseAt);
  }

  /** All sessions, written down, as SessionRequests.inventory says. */
  async inventory(): Promise<readonly number[]> {
    if (this.#worker === undefined || !this.#ready) throw new RetryError('no worker is at work');
    return this.#sessions.inventory(this.#worker);
  }

  /** The worker takes sessions of another one. Descriptors are borrowed. */
  take(fds: readonly number[], pauseAt?: HandoffStep): void {
    this.#worker?.send({ type: 'take', pauseAt }, fds);
  }

  #untilServing(): Promise<void> {
    if (this.#ready) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onServing.add(resolve);
    return within(promise, applyLimitMs, () => {
      this.#onServing.delete(resolve);
      throw new RetryError('no worker is at work', { hint: 'the log says why it does not start' });
    });
  }

  #spawn(): void {
    const { keeper, state, tally } = this.#options;
    const id = state.current.nextWorkerId;
    this.#expectReady();
    try {
      const { handshakeThreads, relayThreads } = state.current.config;
      // Also where none comes of it: its page counts as that of a worker that has ended, which no other may share.
      state.update({ nextWorkerId: id + 1 });
      tally.open(id, handshakeThreads + relayThreads);
      const worker = spawnWorker(id, keeper, {
        onMessage: (message, fds) => this.#onMessage(message, fds),
        onEnd: (end) => this.#onEnd(id, worker.pid, end),
      });
      this.#worker = worker;
      state.update({ worker: { id, pid: worker.pid } });
      log('info', 'worker', { worker_state: 'spawned', worker_id: id, worker_pid: worker.pid });
      if (worker.pid !== noProcess) {
        tally.started(id, worker.pid);
        this.#options.onSpawn?.({ id, pid: worker.pid });
      }
      this.#sendPlan(worker);
    } catch (error) {
      // File limit or memory: the same as a worker that died at once.
      if (this.#worker === undefined) this.#onEnd(id, noProcess, { reason: (error as Error).message });
      else this.#giveUp(this.#worker, error);
    }
  }

  #giveUp(worker: WorkerProcess, error: unknown): void {
    this.#reason = (error as Error).message;
    worker.kill();
  }

  #sendFirstPlan(worker: WorkerProcess): void {
    try {
      this.#sendPlan(worker);
    } catch (error) {
      this.#giveUp(worker, error);
    }
  }

  #sendPlan(worker: WorkerProcess, type: 'plan' | 'reconfigure' = 'plan', next?: NextSetup, expected = 0): void {
    const fds: number[] = [];
    const placeOf = (fd: number): number => (fds.includes(fd) ? fds.indexOf(fd) : fds.push(fd) - 1);
    const countersFd = type === 'plan' ? (this.#options.tally.descriptorsOf(worker.id)?.page ?? -1) : -1;
    const told = mapDescriptors({ ...this.#options.plan(worker.id, this.#accepting, next), countersFd }, placeOf);
    worker.send({ type, ...told, plan: { ...told.plan, expectedConnections: expected } }, fds);
  }

  #expectReady(): void {
    this.#ready = false;
    this.#reason = undefined;
    this.#startedAtMs = monotonicMs();
    clearTimeout(this.#readyTimer);
    this.#readyTimer = setTimeout(() => {
      this.#reason = `not ready within ${readyLimitMs / 1000} s`;
      this.#worker?.kill();
    }, readyLimitMs);
  }

  #eventsOf(id: number, pid: number): WorkerEvents {
    return { onMessage: (message, fds) => this.#onMessage(message, fds), onEnd: (end) => this.#onEnd(id, pid, end) };
  }

  #onMessage(message: ToMaster, fds: readonly number[]): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    switch (message.type) {
      case 'status':
        if (message.state === 'waiting') this.#sendFirstPlan(worker);
        if (message.state === 'serving') this.#onReady(message.revision, message.accepting);
        break;
      case 'ready':
        this.#onReady(message.revision);
        break;
      case 'reconfigured':
        this.#onReconfigured(message.revision, message.error);
        break;
      case 'lost':
        this.#applying?.applied.reject(
          new RetryError('the worker can not read the new configuration', { hint: 'its log line says what it lacks' }),
        );
        break;
      case 'inventory':
      case 'giving':
      case 'given':
        this.#sessions.onAnswer(message, fds);
        break;
      case 'failed':
        this.#reason = message.error;
        break;
      case 'drained':
        this.#told = message;
        this.#reason = 'drained';
        this.#sessions.onDrained();
        break;
    }
  }

  #onReady(revision: number, accepting = this.#accepting): void {
    this.#ready = true;
    clearTimeout(this.#readyTimer);
    this.#onStarted.resolve();
    this.#terms = { revision, accepting };
    this.#match();
    for (const serves of this.#onServing) serves();
    this.#onServing.clear();
  }

  #onReconfigured(revision: number, error: string | undefined): void {
    if (this.#applying?.revision === revision) {
      const { applied, accepting } = this.#applying;
      if (error === undefined) {
        this.#terms = { revision, accepting };
        applied.resolve();
      } else {
        applied.reject(new SystemError(error, { code: 'ERR_NATIVE_PLAN' }));
      }
    } else if (error === undefined) {
      this.#terms = { revision, accepting: this.#accepting };
      this.#match();
    }
  }

  /**
   * A predecessor may have died, or we may have given up waiting, between the worker's taking a plan and our noting it. It is asked until
   * it has taken the one that holds.
   */
  #match(again = false): void {
    if (this.#worker === undefined || this.#stopping || this.#isMatched) return;
    const matched = this.#inTurn(async () => {
      // Who had an earlier turn may have brought it.
      if (!this.#isMatched) await this.#takeNow(undefined, 0);
    });
    matched.catch((error) => {
      if (!again && !this.#stopping) log('error', 'system_error', failure('the worker does not take its plan', error));
      setTimeout(() => this.#match(true), takeAgainMs).unref();
    });
  }

  get #isMatched(): boolean {
    const { revision } = this.#options.state.current;
    return this.#terms?.revision === revision && this.#terms.accepting === this.#accepting;
  }

  /** Workers that the predecessor had started when it died, but not yet noted: they have no plan. */
  #endStrays(adopted: number | undefined): void {
    const { keeper } = this.#options;
    for (const [name, fd] of keeper.held) {
      const [, id, kind] = /^worker:(\d+):(channel|pidfd)$/.exec(name) ?? [];
      if (id === undefined || Number(id) === adopted) continue;
      if (kind === 'pidfd') killByPidfd(fd);
      native.closeFd({ fd });
      keeper.drop(name);
    }
  }

  #onEnd(id: number, pid: number, { reason, code }: ProcessEnd): void {
    const { state, keeper, tally } = this.#options;
    const wasReady = this.#ready;
    this.#worker = undefined;
    this.#terms = undefined;
    this.#ready = false;
    tally.ended(id);
    this.#sessions.onEnd();
    clearTimeout(this.#readyTimer);
    this.#applying?.applied.reject(
      new RetryError('the worker died over the new configuration', { hint: 'see the log' }),
    );
    state.update({ worker: undefined });
    const fields = {
      worker_state: 'dead',
      worker_id: id,
      worker_pid: pid,
      reason: this.#reason ?? reason,
      code,
    } as const;
    if (this.#stopping) {
      log('info', 'worker', fields);
      this.#onEnded.resolve(this.#told);
      return;
    }
    this.#delayMs = nextDelay(this.#delayMs, monotonicMs() - this.#startedAtMs);
    if (pid === noProcess) log('error', 'system_error', failure("can't start a worker", reason));
    else log('error', 'worker', { ...fields, sessions_lost: tally.of(id)?.sessions_open, delay_ms: this.#delayMs });
    if (keeper.start === 0 && !wasReady) {
      const message = `the worker did not start: ${fields.reason}${code === undefined ? '' : ` (code ${code})`}`;
      this.#onStarted.reject(new SystemError(message, { code: 'ERR_WORKER_START' }));
    }
    this.#spawnTimer = setTimeout(() => this.#spawn(), this.#delayMs);
  }
}
