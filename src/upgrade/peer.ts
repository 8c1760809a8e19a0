// SPDX-License-Identifier: MIT
// What the serving master and the candidate say to each other, over a socket pair of their own.
import { z } from 'zod';
import type { EndedWorker } from '../master/tally.ts';
import type { HandoffStep } from '../worker/handoff-step.ts';
import type { UpgradeSummary, UpgradeTrigger } from './report.ts';

/** At the keeper. */
export const peerName = 'peer';

/** With the page that it counts in and a pidfd of it. */
export interface PeerWorker {
  readonly id: number;
  readonly pid: number;
}

export type ToServing =
  /** It has started a worker. */
  | { readonly type: 'worker'; readonly worker: PeerWorker }
  /** Its worker has checked the plan and waits. */
  | { readonly type: 'ready'; readonly workerPid: number }
  /** Last words. */
  | { readonly type: 'failed'; readonly error: string }
  /** After the commit: clients are served by the new worker. */
  | { readonly type: 'serving' };

export type ToCandidate =
  /** Right before the commit: all that a master that serves has to know of the time since it was started. */
  | {
      readonly type: 'committing';
      readonly from: string;
      readonly trigger: UpgradeTrigger;
      /** Those that live, with the descriptors of each in their order. */
      readonly workers: readonly PeerWorker[];
      /** Those that have come and gone meanwhile. */
      readonly ended?: readonly EndedWorker[];
      /** Number of the one whose sessions are to move. */
      readonly donor?: number | undefined;
      /** Where it has started workers meanwhile. */
      readonly nextWorkerId?: number;
      readonly ticketKeysRotatedAtMs?: number;
    }
  /** With the descriptors of the `giving` of worker number `donor`. */
  | { readonly type: 'take'; readonly donor: number; readonly pauseAt?: HandoffStep | undefined }
  | { readonly type: 'report'; readonly report: UpgradeSummary };

/** Of a master of another version, which may say more. */
const worker = z.object({ id: z.int().nonnegative(), pid: z.int().nonnegative() });

export const servingShapes: Readonly<Record<ToServing['type'], z.ZodType>> = {
  worker: z.object({ worker }),
  ready: z.object({ workerPid: z.int().nonnegative() }),
  failed: z.object({ error: z.string() }),
  serving: z.object({}),
};

export const candidateShapes: Readonly<Record<ToCandidate['type'], z.ZodType>> = {
  committing: z.object({
    from: z.string(),
    trigger: z.string(),
    workers: z.array(worker),
    ended: z.array(z.object({ id: worker.shape.id, counters: z.record(z.string(), z.number()) })).optional(),
    donor: worker.shape.id.optional(),
    nextWorkerId: worker.shape.id.optional(),
    ticketKeysRotatedAtMs: z.number().optional(),
  }),
  take: z.object({ donor: worker.shape.id }),
  report: z.object({ report: z.object({}) }),
};
