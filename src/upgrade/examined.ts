// SPDX-License-Identifier: MIT
// What the preflight has found out about the sessions: whether the other version can read each of them.
import { RetryError } from '../errors.ts';
import type { Service } from '../master/service.ts';
import { type LeavingWorker, leavingOf } from '../master/status.ts';
import type { Examined } from '../native.ts';
import type { ByEngine } from './moved.ts';
import type { Verdict } from './preflight.ts';

/** What would become of the sessions. */
export interface CheckedSessions {
  /** Would move, and by whom they are carried. */
  readonly move: number;
  readonly engines: ByEngine;
  /** The other version can't read them, and would not take over. */
  readonly refused: number;
  /** Twenty at most: connection ids as in the log. */
  readonly first_refused: Examined['firstRefused'];
  /** That were not looked at: there was no memory, or the other version does not tell. */
  readonly unseen: number;
  /** Handshakes under way: they would end in the old worker, and follow. */
  readonly handshakes: number;
  /** Workers that earlier upgrades have left behind: theirs would stay. */
  readonly leaving: readonly LeavingWorker[];
}

export function checkedSessions(service: Service, { sessions }: Verdict): CheckedSessions {
  const { tally, workers } = service;
  const { kernel = 0, userspace = 0, kernel_tx = 0, kernel_rx = 0, refused = 0, firstRefused = [] } = sessions ?? {};
  const counters = workers.serving && tally.of(workers.serving.id);
  const move = kernel + userspace + kernel_tx + kernel_rx;
  return {
    move,
    engines: { kernel, userspace, kernel_tx, kernel_rx },
    refused,
    first_refused: firstRefused,
    unseen: Math.max(0, (counters?.sessions_open ?? 0) - move - refused),
    handshakes: counters?.handshakes_open ?? 0,
    leaving: leavingOf(service),
  };
}

/** Throws RetryError when there is a session that the other version could not go on with. */
export function refuseUnlessRead({ version, sessions }: Verdict): void {
  if (sessions === undefined || sessions.refused === 0) return;
  const { kernel, userspace, kernel_tx, kernel_rx, refused, firstRefused } = sessions;
  const all = kernel + userspace + kernel_tx + kernel_rx + refused;
  const [first] = firstRefused;
  const example = first === undefined ? '' : `, connection ${first.id} for one: ${first.reason}`;
  const hint = '"ironsocket upgrade --check" names them';
  throw new RetryError(`version ${version} can't read ${refused} of ${all} sessions${example}`, { hint });
}
