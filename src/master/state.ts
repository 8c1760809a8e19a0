// SPDX-License-Identifier: MIT
// What a master needs to know of its dead predecessor, beside the descriptors: JSON in a memfd that the keeper holds.
import type { Config } from '../config/config.ts';
import { type Identity, native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import type { UpgradeSummary } from '../upgrade/report.ts';
import type { EngineCounters } from '../worker/counters.ts';
import type { CertificateEntry } from './certificates.ts';
import type { Keeper } from './keeper.ts';
import type { ReloadSummary } from './reload-report.ts';

export const stateVersion = 1;
const name = 'state';

export interface State {
  readonly version: number;
  /** As taken at the start of the service or at the last reload: files may have changed since. */
  readonly config: Config;
  /** Counts the plans that workers have taken: one for each change of the configuration or of a certificate. */
  readonly revision: number;
  readonly certificates: readonly CertificateEntry[];
  /** Start of the service, by CLOCK_MONOTONIC. */
  readonly startedMs: number;
  readonly lastReload?: ReloadSummary | undefined;
  readonly lastUpgrade?: UpgradeSummary | undefined;
  /** Of the workers that have ended. */
  readonly countersBefore?: EngineCounters | undefined;
  /** The last worker whose numbers are in it. */
  readonly counted?: number | undefined;
  /** Whom workers become. */
  readonly identity?: Identity | undefined;
  /** No number comes twice in the life of the service: connection ids begin with it. */
  readonly nextWorkerId: number;
  readonly worker?: { readonly id: number; readonly pid: number } | undefined;
  /** Set: a stop is under way, and sessions are ended at this time of CLOCK_MONOTONIC, which all processes share. */
  readonly drainUntilMs?: number | undefined;
  /** Set: another version serves, and this is the one of the master that leaves. */
  readonly leavingGeneration?: number | undefined;
  /** Directory of the demo's backend socket. */
  readonly demoDirectory?: string | undefined;
  /** Wall clock. */
  readonly ticketKeysRotatedAtMs: number;
}

/** What the first master knows before it has anything. */
export type FirstState = Pick<State, 'config' | 'identity' | 'demoDirectory'>;

export interface StateStore {
  readonly current: State;
  /** Changes fields, and gives the whole to the keeper. */
  update(change: Partial<State>): void;
}

/** The predecessor's state, or one that starts with the configuration that `load` gives. */
export function openState(keeper: Keeper, load: () => FirstState): StateStore {
  const fd = keeper.held.get(name);
  let current = fd === undefined ? firstState(load()) : readState(fd);
  return {
    get current() {
      return current;
    },
    update: (change) => {
      current = { ...current, ...change };
      try {
        const memfd = native.textToMemfd({ name: 'ironsocket-state', text: JSON.stringify(current) });
        try {
          keeper.put(name, memfd);
        } finally {
          native.closeFd({ fd: memfd });
        }
      } catch (error) {
        // File limit: the service goes on. A successor that finds an old state starts a worker where it misses one.
        log('error', 'system_error', failure("can't keep the state", error));
      }
    },
  };
}

function firstState(loaded: FirstState): State {
  const empty = { revision: 1, certificates: [], nextWorkerId: 1 };
  return { version: stateVersion, ...loaded, ...empty, startedMs: monotonicMs(), ticketKeysRotatedAtMs: Date.now() };
}

function readState(fd: number): State {
  const state = JSON.parse(native.memfdToText({ fd })) as State;
  native.closeFd({ fd });
  if (state.version !== stateVersion) {
    throw new Error(
      `the state is of version ${state.version}, this master knows ${stateVersion}: start the service anew`,
    );
  }
  return state;
}

/** CLOCK_MONOTONIC in milliseconds. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
