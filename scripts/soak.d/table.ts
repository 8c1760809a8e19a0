// SPDX-License-Identifier: MIT
// A soak's verdict as text.
import type { History } from './history.ts';
import { fewestPoints } from './trend.ts';
import type { Verdict } from './verdict.ts';

const mostFaults = 20;

export function verdictText(history: History, { flat, checks, right }: Verdict): string {
  const rows = flat.map(({ name, unit, trend }) => [
    trend.points < fewestPoints ? '?' : trend.flat ? 'flat' : 'GROWS',
    name,
    `${number(trend.first)} → ${number(trend.last)} ${unit}`.trimEnd(),
    `${trend.slope >= 0 ? '+' : ''}${number(trend.slope * 30)} ${unit} in 30 min`.replace('  ', ' '),
    `${trend.points} points`,
  ]);
  const told = checks.map(({ right, name, words }) => [right ? 'right' : 'WRONG', name, words]);
  const faults = [...history.faults, ...(history.ending?.visitors.flatMap((each) => each.faults) ?? [])];
  const named = faults.slice(0, mostFaults).map(({ at, visit, what }) => {
    return `  ${((at - history.started) / 1000).toFixed(1)} s  ${visit}: ${what}`;
  });
  return [
    'first third → last third, and the slope:',
    ...aligned(rows),
    '',
    ...aligned(told),
    ...(named.length > 0 ? ['', 'faults:', ...named] : []),
    ...(history.ending?.strange.length
      ? ['', 'strange lines:', ...history.ending.strange.map((line) => `  ${line}`)]
      : []),
    '',
    conclusion(flat, right),
    '',
  ].join('\n');
}

export function conclusion(flat: Verdict['flat'], right: boolean): string {
  if (!right) return 'Something is not as it should be.';
  const told = flat.every(({ trend }) => trend.points >= fewestPoints);
  return told ? 'All is flat, and nothing was lost.' : 'Nothing was lost; it was too short to tell what is flat.';
}

export function number(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length))) ?? [];
  return rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd());
}
