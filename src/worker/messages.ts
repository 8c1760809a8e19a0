// SPDX-License-Identifier: MIT
// What master and worker say to each other. Descriptors travel beside a message; inside it stand their places in that list.

import type { KernelDirections } from '../config/config.ts';
import type { Identity, LogLevel, Plan } from '../native.ts';
import type { HandoffStep } from './handoff-step.ts';

/** Everything a worker needs. It reads no file. */
export interface WorkerPlan {
  readonly id: number;
  /** Of the configuration, counted by the master. */
  readonly revision: number;
  readonly logLevel: LogLevel;
  /** Whom to become; undefined: nobody else. */
  readonly identity?: Identity | undefined;
  readonly handshakeThreads: number;
  readonly relayThreads: number;
  /** 0: the AEAD limit. */
  readonly keyUpdateRecords: number;
  readonly kernelDirections: KernelDirections;
  /** Without backend addresses: the worker resolves names. */
  readonly plan: Plan;
  /** False: the plan is checked in full, but nobody is accepted, because another worker serves. */
  readonly accepting: boolean;
  readonly logFd: number;
  /** The page that it counts in, but in `reconfigure`, where it is -1. */
  readonly countersFd: number;
}

export type ToWorker =
  | ({ readonly type: 'plan' } & WorkerPlan)
  /** In place of the one at work, but for what holds for the whole life of a process. The answer is `reconfigured`. */
  | ({ readonly type: 'reconfigure' } & WorkerPlan)
  /** All sessions are to be written down. The answer is `inventory`. */
  | { readonly type: 'inventory' }
  /** Sessions go to another worker. `giving` and `given` follow. */
  | { readonly type: 'give'; readonly pauseAt?: HandoffStep | undefined }
  /** Sessions come from another worker: the descriptors of its `giving`. */
  | { readonly type: 'take'; readonly pauseAt?: HandoffStep | undefined }
  /** First word of a master that has taken the place of a dead one. The answer is `status`. */
  | { readonly type: 'master'; readonly pid: number }
  /** Take no more connections; `drained` follows when the last has ended. A worker that does not serve yet just ends. */
  | { readonly type: 'drain' }
  /** End every connection now, then the process. */
  | { readonly type: 'end' }
  /** With the new log. */
  | { readonly type: 'reopen_log' };

export type ToMaster =
  /** Waiting for a plan, starting on one (`ready` or `failed` follows), or serving. */
  | { readonly type: 'status'; readonly state: 'waiting' | 'starting' }
  | { readonly type: 'status'; readonly state: 'serving'; readonly revision: number; readonly accepting: boolean }
  /** The plan is at work. */
  | { readonly type: 'ready'; readonly revision: number }
  /** The other plan is at work, or, with an error, still the one before. */
  | { readonly type: 'reconfigured'; readonly revision: number; readonly error?: string }
  /** A message could not be read, or had more descriptors than there is room for: it is as if it had not been sent. */
  | { readonly type: 'lost' }
  /** With memfds that have to be wiped (Engine.inventoryFds). */
  | { readonly type: 'inventory' }
  /** With one end of a pair for each relay thread, for the worker that takes. */
  | { readonly type: 'giving' }
  /** All have gone, or no more went for a while; those that come later follow by themselves. */
  | { readonly type: 'given'; readonly refusal: string }
  /** The plan can't be taken, or this worker speaks another version. It ends. */
  | { readonly type: 'failed'; readonly error: string }
  /** No connection is left, or the limit for that has passed; it ends. `cut`: sessions that did not end by themselves. */
  | { readonly type: 'drained'; readonly cut: number };

/** The same plan with `convert` applied to every descriptor. */
export function mapDescriptors(worker: WorkerPlan, convert: (fd: number) => number): WorkerPlan {
  const { plan } = worker;
  const listeners = plan.listeners.map((listener) => ({
    ...listener,
    fd: convert(listener.fd),
    certificates: listener.certificates.map(({ chainFd, keyFd }) => ({
      chainFd: convert(chainFd),
      keyFd: convert(keyFd),
    })),
  }));
  const ticketKeysFd = plan.ticketKeysFd === -1 ? -1 : convert(plan.ticketKeysFd);
  const countersFd = worker.countersFd === -1 ? -1 : convert(worker.countersFd);
  return { ...worker, logFd: convert(worker.logFd), countersFd, plan: { ...plan, listeners, ticketKeysFd } };
}
