// SPDX-License-Identifier: MIT
// What the command lines of the scripts share.
import { closeSync, openSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Offload } from '../src/config/config.ts';
import { installed } from './bench.d/programs.ts';

/** Parses an option's argument; refuses what is no whole number. */
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

/** The same of any number but 0. */
export function positive(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It is no number.');
  const parsed = Number(text);
  if (parsed === 0) throw new InvalidArgumentError('It has to be more than 0.');
  return parsed;
}

/** Path of a file that is written in the end; refuses one that can't be, before the work is done. An empty one is made. */
export function writableFile(path: string): string {
  try {
    closeSync(openSync(path, 'a'));
  } catch (error) {
    throw new InvalidArgumentError(`It can't be written: ${(error as Error).message}.`);
  }
  return path;
}

/** Those with `part` in their name, all if it is left out. Where there are none, the command ends with a sentence. */
export function named<T extends { readonly name: string }>(
  command: Command,
  subjects: readonly T[],
  part: string | undefined,
): readonly T[] {
  const found = subjects.filter(({ name }) => part === undefined || name.includes(part));
  if (found.length > 0) return found;
  return command.error(`error: no subject has ${part} in its name: ${subjects.map(({ name }) => name).join('; ')}`);
}

/** "1 target", "2 targets" */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Installs Debian's packages where they are missing. Where that fails, the command ends with a sentence. */
export function provide(command: Command, packages: readonly string[]): void {
  const missing = packages.filter((name) => installed.version(name) === '').join(', ');
  if (missing === '') return;
  console.error(`installing ${missing}`);
  try {
    installed.provide(packages);
  } catch (error) {
    command.error(`error: ${missing} can't be installed: ${(error as Error).message.trim()}`);
  }
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
