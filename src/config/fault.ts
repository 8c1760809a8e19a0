// SPDX-License-Identifier: MIT
// A fault is one thing that is wrong with a configuration, with the place to look at and what to do about it.

export type PathPart = string | number;
/** The way to a value: `['listeners', 0, 'tls', 'alpn']`. */
export type Path = readonly PathPart[];

/** Where something is written. Neither `line` nor `flag`: it is about the file, or the command line, as a whole. */
export interface Place {
  /** As the operator named it. Undefined: on the command line. */
  readonly file?: string | undefined;
  /** From 1. The column counts UTF-16 units, as editors do. */
  readonly line?: number;
  readonly column?: number;
  /** How many UTF-16 units of the line are meant; at least 1. */
  readonly length?: number;
  /** The line itself, without its end. */
  readonly text?: string;
  /** `--listen`. */
  readonly flag?: string;
}

export interface Fault extends Place {
  /** A warning is told but stops nothing. */
  readonly severity: 'fault' | 'warning';
  /** Stable: `ERR_CONFIG_UNKNOWN_KEY`. */
  readonly code: string;
  /** `listeners[0].tls.alpn`; empty: the whole. */
  readonly path: string;
  /** Without a full stop. */
  readonly message: string;
  readonly hint?: string | undefined;
}

/** What is wrong, before it is known where that is written. */
export interface Complaint {
  readonly severity?: 'fault' | 'warning';
  readonly code: string;
  readonly path: Path;
  /** Points at the key instead of at its value. */
  readonly atKey?: boolean;
  readonly message: string;
  readonly hint?: string | undefined;
}

export function pathText(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? part : `${text}.${part}`;
  }, '');
}

/** In the order of the file; what has no line first. */
export function sortFaults(faults: readonly Fault[]): Fault[] {
  return faults.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

/** Quotes a value for a message: on one line, without control characters, and not too long. */
export function quoted(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return `"${printable(text.length > 80 ? `${text.slice(0, 79)}…` : text)}"`;
}

/** Makes control characters and direction overrides, which could rewrite a terminal's lines, visible. */
export function printable(text: string): string {
  return text.toWellFormed().replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** The candidate that was probably meant, or undefined. */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  const wanted = word.toLowerCase().replaceAll('-', '_').slice(0, 64);
  const limit = Math.max(1, Math.floor(wanted.length / 3));
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(wanted, candidate.toLowerCase()) }))
    .filter(({ distance, candidate }) => distance <= limit && distance < candidate.length)
    .sort((a, b) => a.distance - b.distance);
  return ranked[0]?.candidate;
}

/** Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replace, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j] ?? 0, (beforeLast[j - 2] ?? 0) + 1);
      }
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
