// SPDX-License-Identifier: MIT
// Keeps one worker at work: starts it or takes it over, replaces it when it dies, and ends it. While there is none, connections wait
// in the accept queues of the listeners, which we and the keeper hold open.
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { mapDescriptors, type ToMaster, type WorkerPlan } from '../worker/messages.ts';
import { nextDelay } from './backoff.ts';
import type { Keeper, ProcessEnd } from './keeper.ts';
import { monotonicMs, type StateStore } from './state.ts';
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

/** The last words of a worker. */
export type WorkerEnd = Pick<Extract<ToMaster, { type: 'drained' }>, 'counters' | 'cut'>;

export interface WorkersOptions {
  readonly keeper: Keeper;
  readonly state: StateStore;
  /** Asked for at every start. Descriptors are borrowed. */
  readonly plan: (id: number) => WorkerPlan;
}

export class Workers {
  /** Settles when the first worker is ready. Rejects when it does not get there and nobody is served yet. */
  readonly started: Promise<void>;
  /** Settles when the last worker has ended after stop(): with its numbers, if it got to tell them. */
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
  #told: WorkerEnd | undefined;

  constructor(options: WorkersOptions) {
    this.#options = options;
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

  #spawn(): void {
    const { keeper, state } = this.#options;
    const id = state.current.nextWorkerId;
    this.#expectReady();
    try {
      const worker = spawnWorker(id, keeper, {
        onMessage: (message) => this.#onMessage(message),
        onEnd: (end) => this.#onEnd(id, worker.pid, end),
      });
      this.#worker = worker;
      state.update({ nextWorkerId: id + 1, worker: { id, pid: worker.pid } });
      log('info', 'worker', { worker_state: 'spawned', worker_id: id, worker_pid: worker.pid });
      this.#sendPlan(worker);
    } catch (error) {
      // File limit or memory: the same as a worker that died at once.
      if (this.#worker === undefined) this.#onEnd(id, noProcess, { reason: (error as Error).message });
      else this.#worker.kill();
    }
  }

  #sendPlan(worker: WorkerProcess): void {
    const fds: number[] = [];
    const placeOf = (fd: number): number => (fds.includes(fd) ? fds.indexOf(fd) : fds.push(fd) - 1);
    const plan = mapDescriptors(this.#options.plan(worker.id), placeOf);
    worker.send({ type: 'plan', ...plan }, fds);
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
    return { onMessage: (message) => this.#onMessage(message), onEnd: (end) => this.#onEnd(id, pid, end) };
  }

  #onMessage(message: ToMaster): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    switch (message.type) {
      case 'status':
        if (message.state === 'waiting') this.#sendPlan(worker);
        if (message.state === 'serving') this.#onReady();
        break;
      case 'ready':
        this.#onReady();
        break;
      case 'failed':
        this.#reason = message.error;
        break;
      case 'drained':
        this.#told = message;
        this.#reason = 'drained';
        break;
    }
  }

  #onReady(): void {
    this.#ready = true;
    clearTimeout(this.#readyTimer);
    this.#onStarted.resolve();
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
    const { state, keeper } = this.#options;
    const wasReady = this.#ready;
    this.#worker = undefined;
    this.#ready = false;
    clearTimeout(this.#readyTimer);
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
    else log('error', 'worker', { ...fields, delay_ms: this.#delayMs });
    if (keeper.start === 0 && !wasReady) {
      const message = `the worker did not start: ${fields.reason}${code === undefined ? '' : ` (code ${code})`}`;
      this.#onStarted.reject(new SystemError(message, { code: 'ERR_WORKER_START' }));
    }
    this.#spawnTimer = setTimeout(() => this.#spawn(), this.#delayMs);
  }
}
