// SPDX-License-Identifier: MIT
// Everybody around the service, in processes of their own: the crowd, visitors and guests, the probe, and the backend.
import { setTimeout as wait } from 'node:timers/promises';
import { Helper } from '../bench.d/helper.ts';
import type { BackendCalls } from './backend.ts';
import type { CrowdCalls, CrowdCounts } from './crowd.ts';
import type { History, LostByClients } from './history.ts';
import type { ProbeCalls } from './probe.ts';
import type { Scene } from './scene.ts';
import type { VisitCounts, VisitorCalls } from './visitors.ts';

export interface TrafficOptions {
  readonly visitors: number;
  readonly guests: number;
  /** Most time between two visits of a visitor. */
  readonly pauseMs: number;
  readonly seed: number;
}

const crowds = 2;
const visitorProcesses = 2;
/** A request and a handshake. */
export const probeSessions = 2;
/** All who have been cut know it once nobody more has noticed for so long. */
const noticeMs = 2_000;

export class Clients {
  readonly #backend = new Helper<BackendCalls>('../soak.d/backend.ts');
  readonly #crowds = Array.from({ length: crowds }, () => new Helper<CrowdCalls>('../soak.d/crowd.ts'));
  readonly #visitors = Array.from(
    { length: visitorProcesses },
    () => new Helper<VisitorCalls>('../soak.d/visitors.ts'),
  );
  readonly #probe = new Helper<ProbeCalls>('../soak.d/probe.ts');
  readonly #history: History;

  constructor(history: History) {
    this.#history = history;
  }

  /** Starts the backend. Gives its ports. */
  listen(): Promise<Scene['ports']> {
    return this.#backend.call('listen');
  }

  /** Connections that the backend has. */
  atBackend(): Promise<number> {
    return this.#backend.call('open');
  }

  /** Where the crowd goes, once it is wanted. */
  async meet(port: number): Promise<void> {
    for (const [i, crowd] of this.#crowds.entries()) {
      await crowd.call('at', { port, localAddress: `127.0.0.${i + 2}` });
    }
  }

  /** So many idle sessions of the crowd from now on; they come and go by and by. */
  async want(all: number): Promise<void> {
    await Promise.all(this.#crowds.map((crowd, i) => crowd.call('want', Math.floor((all + i) / crowds))));
  }

  /** Whoever is not open by now comes no more. */
  async enough(): Promise<void> {
    await Promise.all(this.#crowds.map((crowd) => crowd.call('enough')));
  }

  /** Idle sessions of the crowd. */
  async idle(): Promise<number> {
    return sum(await this.crowd(), 'open');
  }

  /** How many of the crowd's sessions don't answer. */
  async silent(): Promise<number> {
    const silent = await Promise.all(this.#crowds.map((crowd) => crowd.call('ping')));
    return silent.reduce((all, each) => all + each, 0);
  }

  /** Visitors, guests and probe. */
  async startTraffic(ports: Scene['ports'], { visitors, guests, pauseMs, seed }: TrafficOptions): Promise<void> {
    const share = (of: number) => Math.ceil(of / visitorProcesses);
    for (const [i, each] of this.#visitors.entries()) {
      await each.call('start', { ports, visitors: share(visitors), guests: share(guests), pauseMs, seed: seed + i });
    }
    await this.#probe.call('start', { port: ports.plain });
  }

  /** Settles when the last has left. */
  async stopTraffic(): Promise<void> {
    await Promise.all([this.#probe.call('stop'), ...this.#visitors.map((each) => each.call('stop'))]);
  }

  /** Said before a worker is killed, and when another one serves. */
  async killing(): Promise<void> {
    for (const each of this.#visitors) await each.call('killing');
  }

  /** Into the history. */
  async readProbe(): Promise<void> {
    this.#history.probed(await this.#probe.call('take'));
  }

  /** Sessions that clients have lost so far. */
  async lost(): Promise<LostByClients> {
    const crowd = await this.crowd();
    const visitors = await this.visitors();
    await this.readProbe();
    const idle = sum(crowd, 'lost');
    const certain = idle + sum(visitors, 'lostAnswered');
    const all = idle + sum(crowd, 'refused') + sum(visitors, 'lost') + this.#history.lostByProbe;
    return { certain, all };
  }

  /** The same, once no more clients notice that they have been cut. */
  async lostInTheEnd(): Promise<LostByClients> {
    for (let last = await this.lost(); ; ) {
      await wait(noticeMs);
      const now = await this.lost();
      if (now.all === last.all) return now;
      last = now;
    }
  }

  crowd(): Promise<readonly CrowdCounts[]> {
    return Promise.all(this.#crowds.map((crowd) => crowd.call('counts')));
  }

  visitors(): Promise<readonly VisitCounts[]> {
    return Promise.all(this.#visitors.map((each) => each.call('counts')));
  }

  async end(): Promise<void> {
    const all = [this.#backend, this.#probe, ...this.#crowds, ...this.#visitors];
    await Promise.all(all.map((helper) => helper.end()));
  }
}

function sum<K extends string>(of: readonly Readonly<Record<K, number>>[], key: K): number {
  return of.reduce((all, each) => all + each[key], 0);
}
