// SPDX-License-Identifier: MIT
// What a command and the master say to each other over the control socket: one line of JSON asks, lines of JSON answer, the last one
// with a result or an error. Then the master closes.
import type { Fault } from '../config/fault.ts';
import { ConfigError, ExpectedError } from '../errors.ts';

export const adminVersion = 1;
/** Of a request and of an answer, its newline included. */
export const longestLine = 4 << 20;

export interface AdminRequest {
  readonly v: number;
  readonly command: string;
  readonly [argument: string]: unknown;
}

export type AdminAnswer =
  /** Any number of them, as the command goes on. */
  | { readonly type: 'progress'; readonly progress: object }
  | { readonly type: 'result'; readonly value: object }
  | { readonly type: 'error'; readonly error: AdminError };

/** An ExpectedError as data. */
export interface AdminError {
  readonly message: string;
  readonly code: string;
  readonly exitCode: number;
  readonly hint?: string | undefined;
  /** Of a ConfigError: as `check` would print them. */
  readonly faults?: readonly Fault[];
}

export function encodeError(error: unknown): AdminError {
  if (!(error instanceof ExpectedError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { message: `internal error: ${message}`, code: 'ERR_INTERNAL', exitCode: 70 };
  }
  const { message, code, exitCode, hint } = error;
  const faults = error instanceof ConfigError ? { faults: error.faults } : {};
  return { message, code, exitCode, hint, ...faults };
}

/** The same error on the side that asked. */
export function decodeError(error: AdminError): ExpectedError {
  if (error.faults !== undefined && error.faults.length > 0) return new ConfigError(error.faults);
  return new ToldError(error);
}

/** What the service says of itself. */
class ToldError extends ExpectedError {
  readonly code: string;
  readonly exitCode: number;

  constructor({ message, code, exitCode, hint }: AdminError) {
    super(message, { hint });
    this.code = code;
    this.exitCode = exitCode;
  }
}
