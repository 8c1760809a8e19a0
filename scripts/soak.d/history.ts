// SPDX-License-Identifier: MIT
// All that a soak has seen, in the order of time.
import type { Handshakes } from '../../src/upgrade/moved.ts';
import type { EngineCounters } from '../../src/worker/counters.ts';
import type { CrowdCounts } from './crowd.ts';
import type { Reading, Readings } from './probe.ts';
import type { Glance } from './service.ts';
import type { Fault, VisitCounts } from './visitors.ts';

export interface SeenGlance extends Glance {
  /** Seconds since the beginning. */
  readonly at: number;
  /** Where in the cycle, or before and after all of them; undefined: anywhere. */
  readonly point?: 'base' | 'full' | 'calm' | 'end' | undefined;
}

export interface UpgradeNote {
  readonly at: number;
  readonly ms: number;
  readonly moved: number;
  readonly kept: number;
  readonly lost: number;
  readonly reason: string;
  readonly longestPauseUs: number;
  readonly handshakes: Handshakes;
}

/** A worker killed: sessions that the log tells as lost, and those that clients miss. */
export interface KillNote {
  readonly at: number;
  readonly told: number;
  /** Had had an answer. */
  readonly least: number;
  /** All that may have been a session by then. */
  readonly most: number;
}

/** Sessions that ended without the clients' doing. */
export interface LostByClients {
  /** Had had an answer. */
  readonly certain: number;
  /** Those that may not have been sessions yet among them. */
  readonly all: number;
}

export interface Mark {
  readonly at: number;
  readonly what: string;
  readonly more: string;
}

export interface Ending {
  readonly crowd: readonly CrowdCounts[];
  readonly visitors: readonly VisitCounts[];
  readonly lost: LostByClients;
  /** In all, as status tells. */
  readonly sessions: number;
  readonly counters: EngineCounters | undefined;
  /** Closing lines in the log. */
  readonly ended: number;
  readonly reasons: Readonly<Record<string, number>>;
  /** As the log tells. */
  readonly workersDied: number;
  readonly mastersDied: number;
  readonly logBytes: number;
  readonly strange: readonly string[];
  readonly strangeCount: number;
}

export class History {
  readonly started = Date.now();
  readonly glances: SeenGlance[] = [];
  readonly upgrades: UpgradeNote[] = [];
  readonly kills: KillNote[] = [];
  readonly marks: Mark[] = [];
  /** Times in milliseconds since 1970. */
  readonly calm: { readonly from: number; readonly to: number }[] = [];
  readonly requests: Reading[] = [];
  readonly handshakes: Reading[] = [];
  /** What the soak itself found wrong; the visitors have theirs. */
  readonly faults: Fault[] = [];
  readonly quietCpu: { base?: number; end?: number } = {};
  /** Of its options. */
  readonly visitors: number;
  cycles = 0;
  /** Cycles in which the limit was not reached. */
  notFull = 0;
  mastersKilled = 0;
  lostByProbe = 0;
  ending: Ending | undefined;

  constructor(visitors: number) {
    this.visitors = visitors;
  }

  /** Seconds since the beginning. */
  now(): number {
    return (Date.now() - this.started) / 1000;
  }

  glance(glance: Glance, point?: SeenGlance['point']): void {
    this.glances.push({ at: this.now(), point, ...glance });
  }

  mark(what: string, more = ''): void {
    this.marks.push({ at: this.now(), what, more });
  }

  fault(visit: string, what: string): void {
    this.faults.push({ at: Date.now(), visit, what });
  }

  probed({ requests, handshakes, lost }: Readings): void {
    this.requests.push(...requests);
    this.handshakes.push(...handshakes);
    this.lostByProbe = lost;
  }

  finish(ending: Ending): void {
    this.ending = ending;
  }
}
