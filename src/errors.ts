// SPDX-License-Identifier: MIT
// What can go wrong, by who has to act. An error of these classes is expected: the command line prints its message and
// hint, never its stack (but with --debug), and exits with its exitCode (sysexits.h). Any other error is a fault of ours.
import type { Fault } from './config/fault.ts';

export const exitCodes = { ok: 0, usage: 64, internal: 70, system: 71, output: 74, retry: 75, config: 78 } as const;

export abstract class ExpectedError extends Error {
  abstract readonly code: string;
  abstract readonly exitCode: number;
  /** What to do about it, in one sentence. */
  readonly hint: string | undefined;

  constructor(message: string, options: { readonly hint?: string | undefined; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options.hint;
  }
}

/** The command line makes no sense: whoever typed it acts. */
export class UsageError extends ExpectedError {
  readonly code = 'ERR_USAGE';
  readonly exitCode = exitCodes.usage;
}

/** The configuration, or a file that it names, can't be used: the operator edits it. Carries every fault, in the order of the file. */
export class ConfigError extends ExpectedError {
  readonly code: string;
  readonly exitCode = exitCodes.config;
  readonly faults: readonly Fault[];

  constructor(faults: readonly Fault[]) {
    const first = faults[0];
    super(first === undefined ? 'the configuration can not be used' : first.message, { hint: first?.hint });
    this.code = first?.code ?? 'ERR_CONFIG';
    this.faults = faults;
  }
}

/** The operating system refused something. `code` is the name of the errno. */
export class SystemError extends ExpectedError {
  readonly code: string;
  readonly exitCode = exitCodes.system;

  constructor(
    message: string,
    options: { readonly code: string; readonly hint?: string | undefined; readonly cause?: unknown },
  ) {
    super(message, options);
    this.code = options.code;
  }
}

/** Not now: the same may be asked for again later. */
export class RetryError extends ExpectedError {
  readonly code = 'ERR_RETRY';
  readonly exitCode = exitCodes.retry;
}

/** The addon can't be loaded or doesn't fit: whoever packaged or installed ironsocket acts. */
export class NativeError extends ExpectedError {
  readonly code = 'ERR_NATIVE_LOAD';
  readonly exitCode = exitCodes.internal;
}
