// SPDX-License-Identifier: MIT
// Where a configuration was written: a YAML file or a command line. Both give a plain tree of values, and find the place
// of each value again when it turns out to be wrong.
import { type Complaint, type Fault, type Path, type Place, pathText } from './fault.ts';

export interface Source {
  /** Objects without prototype, arrays, text, numbers, booleans, null. */
  readonly value: unknown;
  /** What relative paths start from; absolute. */
  readonly directory: string;
  /** The place of a value, or of the nearest thing around it that is there. */
  place(path: Path, atKey: boolean): Place;
  /** How the operator calls a key: `"backend"` or `--backend`. */
  keyName(path: Path): string;
}

export function faultOf(source: Source, complaint: Complaint): Fault {
  const { severity = 'fault', code, path, atKey = false, message, hint } = complaint;
  return { ...source.place(path, atKey), severity, code, path: pathText(path), message, hint };
}

/** The value at a path; undefined where there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((current, part) => {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, part)) return undefined;
    return (current as Record<string | number, unknown>)[part];
  }, value);
}
