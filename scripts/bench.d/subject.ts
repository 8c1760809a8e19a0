// SPDX-License-Identifier: MIT
// What is measured: a TLS proxy in front of our backend that can be upgraded or reloaded while sessions are open.
import type { Window } from './delays.ts';

export interface SubjectOptions {
  readonly backendPort: number;
  /** Sessions it must have room for. */
  readonly sessions: number;
  /** How long a round of a subject lasts that does not say when it is done. */
  readonly roundMs: number;
}

/** A proxy that runs. */
export interface Served {
  readonly name: string;
  readonly version: string;
  /** On 127.0.0.1. */
  readonly port: number;
  /** All its processes, of every generation. */
  pids(): readonly number[];
  stop(): Promise<void>;
}

export interface Subject extends Served {
  /** One upgrade or reload. Rejects when it fails. */
  round(): Promise<Round>;
  /** Who carries the records of the sessions, in words. */
  carriers?(): Promise<string>;
}

export interface Phase {
  readonly name: string;
  readonly ms: number;
}

export interface Round {
  readonly phases: readonly Phase[];
  /** When sessions moved; undefined: they don't. */
  readonly moving?: Window | undefined;
  /** What it says itself of its sessions. */
  readonly told?: Told | undefined;
}

export interface Told {
  readonly moved: number;
  readonly kept: number;
  readonly lost: number;
  readonly longestPauseUs?: number | undefined;
  readonly p99PauseUs?: number | undefined;
}

export interface SubjectKind {
  readonly name: string;
  /** Rejects when it can't be had here. */
  start(options: SubjectOptions): Promise<Subject>;
}
