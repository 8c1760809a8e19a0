// SPDX-License-Identifier: MIT
// What `ironsocket status` asks for.
import { release } from 'node:os';
import { packageVersion } from '../commands/version.ts';
import { type ByEngine, openByEngine } from '../upgrade/moved.ts';
import type { UpgradeSummary } from '../upgrade/report.ts';
import type { EngineCounters } from '../worker/counters.ts';
import type { ReloadSummary } from './reload-report.ts';
import type { Service } from './service.ts';
import { monotonicMs } from './state.ts';

export interface Status {
  readonly version: string;
  readonly node: string;
  readonly openssl: string;
  readonly kernel: string;
  /** 1, and one more with every upgrade. */
  readonly generation: number;
  readonly state: 'serving' | 'stopping';
  /** Seconds that sessions still have to end; null: it serves. */
  readonly drain_left_s: number | null;
  /** Of the keeper: what systemd and pid files know. */
  readonly pid: number;
  readonly master: { readonly pid: number; readonly restarts: number };
  /** Null while there is none that serves. */
  readonly worker: { readonly pid: number; readonly id: number } | null;
  readonly uptime_s: number;
  /** Configuration file; null: flags. */
  readonly config: string | null;
  /** One more with every change of the configuration or a certificate. */
  readonly revision: number;
  readonly control: string | null;
  readonly listeners: readonly ListenerStatus[];
  /** Workers of earlier generations that end with their last session. */
  readonly leaving: readonly LeavingWorker[];
  /** Of all workers. */
  readonly sessions: SessionStatus;
  /** All that workers count, by name: since the start of the service, and what is open now. */
  readonly counters: EngineCounters;
  readonly last_reload: ReloadSummary | null;
  readonly last_upgrade: UpgradeSummary | null;
}

export interface ListenerStatus {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly backend: string;
  readonly offload: string;
}

export interface LeavingWorker {
  readonly pid: number;
  readonly id: number;
  readonly sessions: number;
  readonly handshakes: number;
}

export interface SessionStatus {
  readonly open: number;
  /** Of this generation and those before it. */
  readonly total: number;
  /** Open ones, by who carries them. */
  readonly engines: ByEngine;
  /** The same by direction. */
  readonly from_client: { readonly kernel: number; readonly userspace: number };
  readonly to_client: { readonly kernel: number; readonly userspace: number };
}

export function statusOf(service: Service): Status {
  const { keeper, state, setup, tally, workers } = service;
  const { drainUntilMs, startedMs, revision, lastReload, lastUpgrade } = state.current;
  const counters = tally.totals;
  return {
    version: packageVersion(),
    node: process.versions.node,
    openssl: process.versions.openssl ?? '',
    kernel: release(),
    generation: keeper.generation,
    state: drainUntilMs === undefined ? 'serving' : 'stopping',
    drain_left_s: drainUntilMs === undefined ? null : Math.max(0, Math.ceil((drainUntilMs - monotonicMs()) / 1000)),
    pid: process.ppid,
    master: { pid: process.pid, restarts: keeper.start },
    worker: workers.serving ?? null,
    uptime_s: Math.floor((monotonicMs() - startedMs) / 1000),
    config: setup.config.file ?? null,
    revision,
    control: service.control ?? null,
    listeners: listenersOf(service),
    leaving: leavingOf(service),
    sessions: sessionsOf(counters),
    counters,
    last_reload: lastReload ?? null,
    last_upgrade: lastUpgrade ?? null,
  };
}

export function leavingOf({ state, tally }: Pick<Service, 'state' | 'tally'>): readonly LeavingWorker[] {
  const own = state.current.worker?.id;
  return tally.workers
    .filter(({ id }) => id !== own)
    .map(({ id, pid, counters }) => {
      return { id, pid, sessions: counters.sessions_open, handshakes: counters.handshakes_open };
    });
}

function listenersOf({ setup }: Service): readonly ListenerStatus[] {
  return setup.config.listeners.map(({ name, backend, offload }) => {
    const own = setup.listeners.filter(({ config }) => config.name === name);
    return { name, addresses: own.map(({ address }) => address), backend, offload };
  });
}

export function sessionsOf(counters: EngineCounters): SessionStatus {
  const { sessions_open: open, sessions_total: total, sessions_kernel_rx: rx, sessions_kernel_tx: tx } = counters;
  // The threads are not asked at the same instant.
  const split = (kernel: number) => ({ kernel, userspace: Math.max(0, open - kernel) });
  return { open, total, engines: openByEngine(counters), from_client: split(rx), to_client: split(tx) };
}
