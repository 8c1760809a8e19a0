// SPDX-License-Identifier: MIT
// Where the visits of a round meet and stand still, so that it can be seen who works meanwhile.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { timeFactor } from '../helpers/time.ts';

/** In which everybody waits, and nobody should work. */
const pauseMs = 30 * timeFactor;

/** The last visit in has it looked. */
export class Pause {
  readonly faults: string[] = [];
  readonly #look: () => Promise<string | undefined>;
  readonly #over = Promise.withResolvers<void>();
  #missing: number;
  #looked = false;

  /** `look` says what is wrong. */
  constructor(visits: number, look: () => Promise<string | undefined>) {
    this.#missing = visits;
    this.#look = look;
  }
  /** Settles when all have come or left, and it has been looked. */
  wait(): Promise<void> {
    this.leave();
    return this.#over.promise;
  }
  /** Of a visit that ends before it. */
  leave(): void {
    this.#missing--;
    if (this.#missing > 0 || this.#looked) return;
    this.#looked = true;
    void this.#look()
      .catch((error) => String(error))
      .then((fault) => {
        if (fault !== undefined) this.faults.push(fault);
        this.#over.resolve();
      });
  }
}

/** Whether a process works where it should not. */
export async function spinning(pid: number): Promise<string | undefined> {
  const before = cpuMs(pid);
  await wait(pauseMs);
  const used = cpuMs(pid) - before;
  // A loop that spins uses all of it, or nearly so beside others.
  return used > pauseMs / 3 ? `the worker used ${used.toFixed(0)} ms of CPU in ${pauseMs} ms without work` : undefined;
}

/** CPU time of the process so far in milliseconds, exact where the kernel says so. */
function cpuMs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1').split(' ')[0]);
  }
  return ns / 1e6;
}
