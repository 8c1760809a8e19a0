// SPDX-License-Identifier: MIT
// A reading of /proc/net/tls_stat as a table for people and as JSON for programs.
import { release } from 'node:os';
import { type TlsChange, type TlsView, troublesOf } from './tls-stat.ts';
import { tlsStatLines } from './tls-stat-lines.ts';

const unknownMeaning = 'not known to this version';

export interface TableOptions {
  /** Adds columns for what has changed; empty in the first reading. */
  readonly changes: boolean;
  /** Columns at which sentences below the table are folded; left out: never. */
  readonly width?: number;
}

/** Lines without their newlines. */
export function tableLines(view: TlsView, options: TableOptions): string[] {
  const { reading, sinceLast, sinceStart } = view;
  const names = (kind: 'gauge' | 'counter' | undefined): string[] =>
    [...reading.values.keys()].filter((name) => tlsStatLines.get(name)?.kind === kind);
  const cells = (name: string): string[] => [
    name,
    String(reading.values.get(name)),
    ...(options.changes ? [signed(sinceLast, name), signed(sinceStart, name)] : []),
    tlsStatLines.get(name)?.meaning ?? unknownMeaning,
  ];
  const heading = (text: string): string[] => [
    text,
    'value',
    ...(options.changes ? ['last', 'start'] : []),
    'what it counts',
  ];
  const sections = [
    { title: 'now', names: names('gauge') },
    { title: 'in all', names: names('counter') },
    { title: 'other lines', names: names(undefined) },
  ].filter((section) => section.names.length > 0);
  const rows = sections.map((section) => [heading(section.title), ...section.names.map(cells)]);
  const widths = columnWidths(rows.flat());
  return [
    ...titleLines(view, options),
    ...rows.flatMap((section) => ['', ...section.map((row) => rowText(row, widths))]),
    ...reading.strange.map((line) => `${line}  (${unknownMeaning})`),
    ...noteLines(view).flatMap((line) => folded(line, options.width ?? Number.POSITIVE_INFINITY)),
  ];
}

/** One line, without its newline. */
export function jsonLine(view: TlsView): string {
  const { reading, sinceLast, sinceStart, restarted } = view;
  const ofKind = (kind: 'gauge' | 'counter' | undefined): Record<string, number> =>
    Object.fromEntries([...reading.values].filter(([name]) => tlsStatLines.get(name)?.kind === kind));
  const changes = (change: TlsChange): object => ({ seconds: change.seconds, ...Object.fromEntries(change.values) });
  return JSON.stringify({
    time: reading.time.toISOString(),
    kernel: release(),
    namespace: reading.namespace,
    gauges: ofKind('gauge'),
    counters: ofKind('counter'),
    unknown: ofKind(undefined),
    strange: reading.strange,
    ...(sinceLast === undefined ? {} : { since_last: changes(sinceLast) }),
    ...(sinceStart === undefined ? {} : { since_start: changes(sinceStart) }),
    ...(restarted ? { restarted } : {}),
    hints: troublesOf(view),
  });
}

function titleLines({ reading, sinceLast, sinceStart }: TlsView, { changes }: TableOptions): string[] {
  const time = reading.time.toISOString().replace(/\.\d+/, '');
  const title = `Kernel TLS in network namespace ${reading.namespace}, Linux ${release()}, ${time}`;
  const scope = 'All programs of this namespace are counted; each container may have one of its own.';
  if (!changes) {
    const own =
      'Each start of ironsocket and each check and doctor tries the kernel on connections of its own, which are';
    return [title, scope, own, 'counted too: look at the changes (--watch), not at the totals.'];
  }
  const span = (change: TlsChange | undefined): string => `${(change?.seconds ?? 0).toFixed(1)} s`;
  return [title, scope, `last: changes in ${span(sinceLast)}; start: in ${span(sinceStart)}`];
}

function noteLines(view: TlsView): string[] {
  const missing = [...tlsStatLines.keys()].filter((name) => !view.reading.values.has(name));
  const notes = [
    ...(view.restarted ? ['The counters began anew: the module was loaded again.'] : []),
    ...(missing.length > 0 ? [`Not counted by this kernel: ${missing.join(', ')}`] : []),
    ...troublesOf(view).map(({ name, count, text }) => `hint: ${name} ${signOf(view)}${count}: ${text}`),
  ];
  return notes.length === 0 ? [] : ['', ...notes];
}

function signOf({ sinceStart }: TlsView): string {
  return sinceStart === undefined ? '' : '+';
}

/** Nothing for 0: what moves is to be seen. */
function signed(change: TlsChange | undefined, name: string): string {
  const value = change?.values.get(name) ?? 0;
  return value === 0 ? '' : `${value > 0 ? '+' : ''}${value}`;
}

function columnWidths(rows: readonly (readonly string[])[]): number[] {
  const columns = rows[0]?.length ?? 0;
  return Array.from({ length: columns }, (_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
}

/** Numbers to the right, names and sentences to the left. */
function rowText(row: readonly string[], widths: readonly number[]): string {
  const last = row.length - 1;
  const pad = (cell: string, column: number): string => {
    const width = column === 0 || column === last ? (widths[column] ?? 0) : Math.max(6, widths[column] ?? 0);
    return column === 0 || column === last ? cell.padEnd(width) : cell.padStart(width);
  };
  return row.map(pad).join('  ').trimEnd();
}

function folded(line: string, width: number): string[] {
  const rows: string[] = [];
  let row = '';
  for (const word of line.split(' ')) {
    if (row.trim() !== '' && row.length + 1 + word.length > width) {
      rows.push(row);
      row = `  ${word}`;
    } else row = row === '' ? word : `${row} ${word}`;
  }
  return [...rows, row];
}
