// SPDX-License-Identifier: MIT
// Figures of several subjects over several rounds: their medians, how far they spread, and how ours compare with the best peer's.
import { quantile } from './delays.ts';
import type { Figures, Row } from './measures.ts';

export interface Figure {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** Of each round, in their order. */
  readonly all: readonly number[];
}

export interface Comparison {
  readonly key: string;
  readonly text: string;
  readonly unit: string;
  /** By subject; nothing of those that could not be measured. */
  readonly figures: Readonly<Record<string, Figure>>;
  readonly best?: { readonly peer: string; readonly value: number; readonly ratio?: number } | undefined;
  readonly goal?: string | undefined;
  readonly reached?: boolean | undefined;
}

export interface Failure {
  readonly subject: string;
  readonly job: string;
  readonly error: string;
}

const ours = 'ironsocket';

export class Samples {
  readonly #versions = new Map<string, string>();
  readonly #figures = new Map<string, Figures[]>();
  readonly failures: Failure[] = [];

  addSubject(name: string, version: string): void {
    this.#versions.set(name, version);
    this.#figures.set(name, []);
  }
  add(subject: string, figures: Figures): void {
    this.#figures.get(subject)?.push(figures);
  }
  addFailure(subject: string, job: string, error: unknown): void {
    this.failures.push({ subject, job, error: error instanceof Error ? error.message : String(error) });
  }
  get versions(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#versions);
  }

  compare(row: Row): Comparison {
    const figures: Record<string, Figure> = {};
    for (const [subject, rounds] of this.#figures) {
      const all = rounds.flatMap((round) => round[row.key] ?? []);
      if (all.length > 0)
        figures[subject] = { median: quantile(all, 0.5), least: Math.min(...all), most: Math.max(...all), all };
    }
    const { key, text, unit } = row;
    if (row.aside) return { key, text, unit, figures };
    const [peer, figure] = Object.entries(figures)
      .filter(([name]) => name !== ours)
      .reduce<[string, Figure] | []>(
        (best, each) => (best[1] === undefined || each[1].median < best[1].median ? each : best),
        [],
      );
    const own = figures[ours]?.median;
    const ratio = own === undefined || figure === undefined ? undefined : own / figure.median;
    const best =
      figure === undefined
        ? undefined
        : { peer: peer ?? '', value: figure.median, ...(ratio !== undefined && { ratio }) };
    return { key, text, unit, figures, best, ...goalOf(row, own, ratio) };
  }

  results(rows: readonly Row[]) {
    return { versions: this.versions, rows: rows.map((row) => this.compare(row)), failures: this.failures };
  }
}

function goalOf({ ratioGoal, goal, unit }: Row, own: number | undefined, ratio: number | undefined) {
  if (ratioGoal !== undefined)
    return { goal: `<= ${ratioGoal}`, reached: ratio === undefined ? undefined : ratio <= ratioGoal };
  if (goal !== undefined) return { goal: `< ${goal} ${unit}`, reached: own === undefined ? undefined : own < goal };
  return {};
}

export function sideBySideText(samples: Samples, rows: readonly Row[]): string {
  const subjects = Object.keys(samples.versions);
  const head = ['', ...subjects.map((name) => `${name}`), 'best peer', 'ratio', 'goal'];
  const versions = ['', ...subjects.map((name) => shortVersion(samples.versions[name] ?? '')), '', '', ''];
  const compared = rows.map((row) => samples.compare(row));
  const shown = compared.filter(({ figures }) => Object.keys(figures).length > 0);
  const body = shown.map(({ text, unit, figures, best, goal, reached }) => {
    const cells = subjects.map((name) => figureText(figures[name]));
    const mark = reached === undefined ? '' : reached ? ' reached' : ' missed';
    return [
      `${text}${unit === '' ? '' : `, ${unit}`}`,
      ...cells,
      best?.peer ?? '',
      best?.ratio?.toFixed(2) ?? '',
      `${goal ?? ''}${mark}`,
    ];
  });
  const table = align([head, versions, ...body]);
  const failures = samples.failures.map(
    ({ subject, job, error }) => `${subject} could not be measured: ${job}: ${error}`,
  );
  return [table, ...failures].join('\n');
}

/** Without Debian's epoch and revision. */
function shortVersion(version: string): string {
  return version.replace(/^\d+:/, '').replace(/-.*$/, '');
}

/** Median, and half the way from the least to the most as a part of it, which a single round does not have. */
function figureText(figure: Figure | undefined): string {
  if (figure === undefined) return '-';
  const { median, least, most, all } = figure;
  if (all.length === 1) return digits(median);
  const spread = median === 0 ? 0 : Math.round((50 * (most - least)) / median);
  return `${digits(median)} ±${spread}%`;
}

function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
}

function align(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
