// SPDX-License-Identifier: MIT
// What the service manager gets to know by way of the keeper (sd_notify(3)): that the service serves, and when a reload or an upgrade
// begins and has ended, whatever came of it.
import { packageVersion } from '../commands/version.ts';
import type { Keeper } from './keeper.ts';
import type { StateStore } from './state.ts';

export class Notices {
  readonly #keeper: Keeper;
  readonly #state: StateStore;
  #running = 0;

  constructor(keeper: Keeper, state: StateStore) {
    this.#keeper = keeper;
    this.#state = state;
  }

  /** Clients are served, and nothing else is under way. `addition` follows the version in what people see. */
  serving(addition = ''): void {
    const text = `ironsocket ${packageVersion()}, generation ${this.#keeper.generation}, revision ${this.#state.current.revision}`;
    this.#keeper.tell('serving', `${text}${addition}`);
  }

  /**
   * Around a reload or an upgrade. A manager that has sent a signal waits for a beginning after it, so that each is told; the end is
   * only that of the last. Throws what `work` throws.
   */
  async around<T>(what: 'reload' | 'upgrade', work: () => Promise<T>): Promise<T> {
    this.#running++;
    this.#keeper.tell('reloading', `${what} under way`);
    let addition = '';
    try {
      return await work();
    } catch (error) {
      addition = `; the last ${what} failed, see the log`;
      throw error;
    } finally {
      this.#running--;
      // After a commit the other master says it.
      if (this.#running === 0 && this.#keeper.role === 'serving') this.serving(addition);
    }
  }
}
