// SPDX-License-Identifier: MIT
// Looks at the service again and again, and at the points that are compared with each other; all of it goes into the history.
import { setTimeout as wait } from 'node:timers/promises';
import type { History } from './history.ts';
import type { Service } from './service.ts';

const glanceEveryMs = 2_000;
const quietMs = 5_000;

export class Watch {
  readonly #service: Service;
  readonly #history: History;
  #going = false;
  #glancing: Promise<void> = Promise.resolve();

  constructor(service: Service, history: History) {
    this.#service = service;
    this.#history = history;
  }

  start(): void {
    this.#going = true;
    this.#glancing = this.#glanceOften();
  }

  /** Settles when nobody looks any more. */
  async stop(): Promise<void> {
    this.#going = false;
    await this.#glancing;
  }

  /** A point that is compared with the same of other cycles. */
  async mark(point: 'base' | 'full' | 'calm' | 'end'): Promise<void> {
    const glance = await this.#service.glance();
    if (glance === undefined) this.#history.fault('glance', `nothing to be seen at the point "${point}"`);
    else this.#history.glance(glance, point);
  }

  /** No traffic: how much CPU time passes, and what is there. */
  async quiet(point: 'base' | 'end'): Promise<void> {
    const before = this.#service.cpu();
    await wait(quietMs);
    this.#history.quietCpu[point] = (this.#service.cpu() - before) / (quietMs / 1000);
    await this.mark(point);
  }

  async #glanceOften(): Promise<void> {
    while (this.#going) {
      this.#service.log.read();
      const glance = await this.#service.glance();
      if (glance !== undefined) this.#history.glance(glance);
      await wait(glanceEveryMs);
    }
  }
}
