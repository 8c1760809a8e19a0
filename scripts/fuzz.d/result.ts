// SPDX-License-Identifier: MIT
// What came of fuzzing one target, and the table of all.

export interface FuzzResult {
  readonly name: string;
  readonly executions: number;
  /** Of the processor. */
  readonly seconds: number;
  /** Edges of the compiled code, or places that V8 tells apart. */
  readonly coverage: number;
  /** Inputs that were kept before, and those that this run has added. */
  readonly kept: number;
  readonly added: number;
  /** Undefined: nothing was found. */
  readonly finding?: Finding | undefined;
}

export interface Finding {
  readonly what: string;
  /** The input. Undefined: it could not even be run. */
  readonly input?: string | undefined;
  /** Runs it again. */
  readonly again: string;
}

const heads = ['target', 'executions', 'a second', 'coverage', 'kept before', 'new', 'findings'] as const;

export function header(names: readonly string[]): string {
  return row(heads, widthOf(names));
}

export function line(result: FuzzResult, names: readonly string[]): string {
  const { name, executions, seconds, coverage, kept, added, finding } = result;
  const rate = Math.round(executions / Math.max(seconds, 0.001));
  return row([name, executions, rate, coverage, kept, added, finding === undefined ? 'none' : '1'], widthOf(names));
}

/** Where the input of a finding lies, and how to run it again. */
export function explain({ name, finding }: FuzzResult): string {
  if (finding === undefined) return '';
  const input = finding.input === undefined ? '' : `  input: ${finding.input}\n`;
  return `\n${name}: ${finding.what}\n${input}  again: ${finding.again}\n`;
}

function widthOf(names: readonly string[]): number {
  return Math.max(heads[0].length, ...names.map(({ length }) => length));
}

function row([name, ...numbers]: readonly (string | number)[], width: number): string {
  return [String(name).padEnd(width), ...numbers.map((each) => String(each).padStart(13))].join('');
}
