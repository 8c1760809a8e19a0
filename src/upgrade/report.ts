// SPDX-License-Identifier: MIT
// What an upgrade tells: of each phase when it has passed, and at its end.
import { log } from '../observe/log.ts';
import { type HandoffStep, handoffSteps } from '../worker/handoff-step.ts';
import type { CheckedSessions } from './examined.ts';
import type { Moved } from './moved.ts';

export const phases = ['preflight', 'spawning', 'switching', 'committed', 'handing-off'] as const;
export type Phase = (typeof phases)[number];
export type UpgradeTrigger = 'signal' | 'command';

export interface UpgradeRequest {
  readonly trigger: UpgradeTrigger;
  /** Directory of the package; undefined: the one that runs, as it is now. */
  readonly to?: string | undefined;
  /** Only the preflight. */
  readonly check: boolean;
  /** For everything up to the commit. */
  readonly timeoutMs: number;
  /** For tests: this phase does not pass, or the handoff stops there. Only in a service that was started with IRONSOCKET_TEST_PAUSES set. */
  readonly pauseAt?: PausePoint | undefined;
}

export type PausePoint = Phase | HandoffStep;
export const pausePoints: readonly PausePoint[] = [...phases, ...handoffSteps];

export interface PhaseReport {
  readonly phase: Phase;
  readonly ms: number;
}

export interface UpgradeReport {
  readonly checked: boolean;
  readonly from: string;
  readonly to: string;
  readonly path: string;
  readonly generation: number;
  readonly phases: readonly PhaseReport[];
  /** Of a check: nothing. */
  readonly sessions: Moved;
  /** Of a check. */
  readonly check?: CheckedSessions | undefined;
  /** `replaced`, or why the old one is still at work; undefined: it has not told yet. */
  readonly keeper?: string | undefined;
}

/** The last one, whatever became of it. */
export interface UpgradeSummary {
  /** RFC 3339. */
  readonly at: string;
  readonly trigger: UpgradeTrigger;
  readonly outcome: 'committed' | 'failed';
  readonly from: string;
  readonly to?: string | undefined;
  readonly sessions?: Moved | undefined;
  /** Phase and reason of the failure. */
  readonly phase?: Phase | undefined;
  readonly reason?: string | undefined;
}

export function logPhase({ phase, ms }: PhaseReport): void {
  log('info', 'upgrade', { phase, duration_ms: ms });
}

/** Never settles where the request says so; the phase has then been done but for its end. */
export async function pausePoint({ pauseAt }: UpgradeRequest, phase: Phase): Promise<void> {
  if (pauseAt !== phase || process.env.IRONSOCKET_TEST_PAUSES === undefined) return;
  log('info', 'upgrade', { phase, paused: true });
  await new Promise(() => {});
}

/** Of a request that wants to stop there. */
export function handoffStepOf({ pauseAt }: UpgradeRequest): HandoffStep | undefined {
  return process.env.IRONSOCKET_TEST_PAUSES === undefined ? undefined : handoffSteps.find((step) => step === pauseAt);
}

export function logCommitted({ from, to, path, generation, sessions }: UpgradeReport): void {
  const { moved, kept, lost, engines, handshakes, pauses } = sessions;
  log(lost > 0 ? 'warn' : 'info', 'upgrade', {
    ...{ outcome: 'committed', from, to, path, generation },
    ...{ sessions_moved: moved, sessions_kept: kept, sessions_lost: lost, kept_reason: sessions.reason },
    ...{ moved_kernel: engines.kernel, moved_userspace: engines.userspace },
    ...{ moved_kernel_tx: engines.kernel_tx, moved_kernel_rx: engines.kernel_rx },
    ...{ handshakes_finished: handshakes.finished, handshakes_moved: handshakes.moved },
    ...{ handshakes_open: handshakes.open, pause_longest_us: pauses.longest_us, pause_p99_us: pauses.p99_us },
  });
}

/** Nothing was begun. */
export function logRefused(reason: string): void {
  log('warn', 'upgrade', { outcome: 'refused', error_msg: reason });
}

/** Of a check nothing more is known than that it would have failed. */
export function logFailed(phase: Phase, reason: string, checked: boolean): void {
  if (checked) log('warn', 'upgrade', { phase, outcome: 'refused', error_msg: reason });
  else log('error', 'upgrade', { phase, outcome: 'failed', error_msg: reason });
}
