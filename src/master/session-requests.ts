// SPDX-License-Identifier: MIT
// What a master asks a worker about its sessions for an upgrade: to write them down, and to give them to another worker.
import { RetryError } from '../errors.ts';
import { native } from '../native.ts';
import { log } from '../observe/log.ts';
import { within } from '../time-limit.ts';
import type { HandoffStep } from '../worker/handoff-step.ts';
import type { ToMaster } from '../worker/messages.ts';
import type { WorkerProcess } from './worker-process.ts';

/** For writing down its sessions. */
const inventoryLimitMs = 5_000;

export type SessionAnswer = Extract<ToMaster, { type: 'inventory' | 'giving' | 'given' }>;

export class SessionRequests {
  #inventory: PromiseWithResolvers<readonly number[]> | undefined;
  #giving:
    | {
        readonly forward: (fds: readonly number[]) => void;
        readonly given: (refusal: string) => void;
      }
    | undefined;

  /**
   * All sessions, written down: memfds that the caller has to wipe and to close. None when it takes the worker too long: then nobody has
   * looked at its sessions. Rejects when the worker can't tell, or dies.
   */
  async inventory(worker: WorkerProcess): Promise<readonly number[]> {
    const asked = Promise.withResolvers<readonly number[]>();
    this.#inventory = asked;
    try {
      worker.send({ type: 'inventory' });
      return await within(asked.promise, inventoryLimitMs, () => {
        log('warn', 'system_error', {
          error_msg: "can't look at the sessions",
          error_desc: `the worker has not written them down within ${inventoryLimitMs / 1000} s`,
        });
        return [];
      });
    } finally {
      // That of another upgrade may have come in its place.
      if (this.#inventory === asked) this.#inventory = undefined;
    }
  }

  /**
   * Has the worker give its sessions away. `forward` gets the descriptors for the worker that takes them; they are closed after it. Settles
   * when no more go, or when the worker has ended, with the reason why some did not go, if it knows one.
   */
  async give(worker: WorkerProcess, forward: (fds: readonly number[]) => void, pauseAt?: HandoffStep): Promise<string> {
    const given = Promise.withResolvers<string>();
    this.#giving = { forward, given: given.resolve };
    try {
      worker.send({ type: 'give', pauseAt });
    } catch (error) {
      given.resolve((error as Error).message);
    }
    const refusal = await given.promise;
    this.#giving = undefined;
    return refusal;
  }

  /** What the worker says. Descriptors are borrowed. */
  onAnswer(message: SessionAnswer, fds: readonly number[]): void {
    if (message.type === 'inventory') this.#onInventory(fds);
    if (message.type === 'giving') this.#giving?.forward(fds);
    if (message.type === 'given') this.#giving?.given(message.refusal);
  }

  /** The worker has no more sessions to give. */
  onDrained(): void {
    this.#giving?.given('');
  }

  /** The worker has died. */
  onEnd(): void {
    this.#inventory?.reject(new RetryError('the worker died before it could tell what sessions there are'));
    this.#giving?.given('');
  }

  #onInventory(fds: readonly number[]): void {
    const copies: number[] = [];
    try {
      if (this.#inventory !== undefined) for (const fd of fds) copies.push(native.duplicateFd({ fd }));
    } catch (error) {
      for (const fd of copies) native.closeFd({ fd });
      for (const fd of fds) native.wipeInventory({ fd });
      this.#inventory?.reject(new RetryError(`can't take the worker's sessions down: ${(error as Error).message}`));
      return;
    }
    if (this.#inventory === undefined) for (const fd of fds) native.wipeInventory({ fd });
    else this.#inventory.resolve(copies);
  }
}
