// SPDX-License-Identifier: MIT
// What the serving master and the candidate say to each other, over a socket pair of their own.
import type { EngineCounters } from '../worker/counters.ts';
import type { HandoffStep } from '../worker/handoff-step.ts';
import type { UpgradeSummary } from './report.ts';

/** At the keeper. */
export const peerName = 'peer';

export type ToServing =
  /** Its worker has checked the plan and waits. */
  | { readonly type: 'ready'; readonly workerPid: number }
  /** Last words. */
  | { readonly type: 'failed'; readonly error: string }
  /** After the commit: clients are served by the new worker. */
  | { readonly type: 'serving' };

export type ToCandidate =
  /** With the descriptors of the old worker's `giving`. */
  | { readonly type: 'take'; readonly pauseAt?: HandoffStep | undefined }
  | { readonly type: 'report'; readonly report: UpgradeSummary }
  /** The old worker's last numbers. */
  | { readonly type: 'left'; readonly counters: EngineCounters };
