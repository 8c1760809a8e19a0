// SPDX-License-Identifier: MIT
// Processes that carry the load, so that it shares no event loop with whoever measures: each answers calls from its parent.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

// biome-ignore lint/suspicious/noExplicitAny: every function of a helper, whatever it takes.
export type Calls = Record<string, (argument: any) => unknown>;

interface Question {
  readonly id: number;
  readonly name: string;
  readonly argument: unknown;
}
interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** In the helper's own process: answers with what these functions return or settle with. It ends when its parent has. */
export function serve(calls: Calls): void {
  process.on('message', async ({ id, name, argument }: Question) => {
    const answer: Answer = await Promise.resolve()
      .then(() => calls[name]?.(argument))
      .then(
        (value) => ({ id, value }),
        (error: Error) => ({ id, error: error.stack ?? error.message }),
      );
    process.send?.(answer);
  });
  process.on('disconnect', () => process.exit());
}

const endLimitMs = 5_000;

/** In the parent. */
export class Helper<C extends Calls> {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #next = 0;
  /** Why nobody answers any more. */
  #ended: Error | undefined;

  /** Starts scripts/bench.d/`file` as a process of its own. */
  constructor(file: string) {
    this.#child = fork(new URL(file, import.meta.url), { serialization: 'advanced' });
    this.#child.on('message', ({ id, value, error }: Answer) => {
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(value);
      else call?.reject(new Error(`${file}: ${error}`));
    });
    this.#child.on('exit', (code, signal) => {
      this.#ended = new Error(`${file} ended with ${code ?? signal}`);
      for (const { reject } of this.#waiting.values()) reject(this.#ended);
    });
  }

  call<K extends keyof C & string>(name: K, ...[argument]: Parameters<C[K]>): Promise<Awaited<ReturnType<C[K]>>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const call = Promise.withResolvers<unknown>();
    const id = this.#next++;
    this.#waiting.set(id, call);
    this.#child.send({ id, name, argument } satisfies Question, (error) => {
      if (error !== null) call.reject(error);
    });
    return call.promise as Promise<Awaited<ReturnType<C[K]>>>;
  }

  /** SIGKILL for one that does not end in time. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    if (this.#child.connected) this.#child.disconnect();
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), endLimitMs);
    await ended;
    clearTimeout(limit);
  }
}
