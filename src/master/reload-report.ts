// SPDX-License-Identifier: MIT
// How a reload is told: in the log, in the state for `ironsocket status`, and to who asked for it.
import type { Fault } from '../config/fault.ts';
import { placeText } from '../config/render.ts';
import { ConfigError, ExpectedError } from '../errors.ts';
import { log } from '../observe/log.ts';
import { type Changes, changedText, isEmpty } from './changes.ts';

export type ReloadTrigger = 'signal' | 'command' | 'certificates';

export interface ReloadReport {
  readonly trigger: ReloadTrigger;
  readonly changes: Changes;
  readonly warnings: readonly Fault[];
  readonly durationMs: number;
}

/** The last one, whatever became of it. */
export interface ReloadSummary {
  /** RFC 3339. */
  readonly at: string;
  readonly trigger: ReloadTrigger;
  readonly outcome: 'changed' | 'unchanged' | 'refused';
  readonly changes?: Changes | undefined;
  /** Why it was refused. */
  readonly reason?: string | undefined;
}

export function logDone({ trigger, changes, durationMs }: ReloadReport): ReloadSummary {
  const outcome = isEmpty(changes) ? 'unchanged' : 'changed';
  const list = (items: readonly string[]) => (items.length === 0 ? undefined : items.join(','));
  log('info', 'reload', {
    trigger,
    outcome,
    added: list(changes.added),
    removed: list(changes.removed),
    changed: changedText(changes) || undefined,
    settings: list(changes.settings),
    later: list(changes.later),
    certificates: list(changes.certificates),
    duration_ms: durationMs,
  });
  return { at: new Date().toISOString(), trigger, outcome, changes };
}

/** Each fault has a line of its own. */
export function logRefused(trigger: ReloadTrigger, error: unknown): ReloadSummary {
  const faults = error instanceof ConfigError ? error.faults : [];
  for (const fault of faults) {
    const level = fault.severity === 'warning' ? 'warn' : 'error';
    log(level, 'config_fault', { place: placeText(fault), error_msg: fault.message, help: fault.hint });
  }
  const bad = faults.filter(({ severity }) => severity === 'fault').length;
  const text = error instanceof Error ? error.message : String(error);
  const reason = bad > 0 ? `${bad} fault${bad === 1 ? '' : 's'} in the configuration` : text;
  const help = error instanceof ExpectedError && bad === 0 ? error.hint : undefined;
  log('error', 'reload', { trigger, outcome: 'refused', error_msg: reason, help });
  return { at: new Date().toISOString(), trigger, outcome: 'refused', reason };
}

export function logWarnings(warnings: readonly Fault[]): void {
  for (const fault of warnings) {
    log('warn', 'config_fault', { place: placeText(fault), error_msg: fault.message, help: fault.hint });
  }
}
