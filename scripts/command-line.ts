// SPDX-License-Identifier: MIT
// What the command lines of the scripts share.
import { InvalidArgumentError, Option } from 'commander';
import type { Offload } from '../src/config/config.ts';

/** Parses an option's argument; refuses what is no number. */
export function number(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It is no number.');
  return Number(text);
}

/** The same of a whole number. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It is no whole number.');
  return Number(text);
}

/** Where nothing would come of 0. */
export function count(text: string): number {
  const parsed = wholeNumber(text);
  if (parsed === 0) throw new InvalidArgumentError('It has to be 1 at least.');
  return parsed;
}

/** `--engine` of a script that starts ironsocket. */
export function engineOption(): Option {
  const choices: readonly Offload[] = ['auto', 'kernel', 'userspace'];
  return new Option('--engine <NAME>', '`offload` of ironsocket').choices(choices).default('auto');
}

/** By way of exit, where what was started is ended as well. */
export function exitAtSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
}
