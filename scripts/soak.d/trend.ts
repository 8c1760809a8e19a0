// SPDX-License-Identifier: MIT
// Whether something that is measured again and again stays as it is.

export interface Point {
  /** Minutes. */
  readonly x: number;
  readonly y: number;
}

/** What may be added between the first third and the last without being growth: the larger of the two counts. */
export interface Slack {
  readonly absolute: number;
  /** Part of the first third's median. */
  readonly relative: number;
}

export interface Trend {
  readonly points: number;
  /** Median of the slopes between all pairs of points (Theil and Sen), per minute: no single point moves it far. */
  readonly slope: number;
  /** Medians of the first and of the last third. */
  readonly first: number;
  readonly last: number;
  /** It does not grow: not by the slope over the whole time, or not from the first third to the last. So do too few points to tell. */
  readonly flat: boolean;
}

/** Fewer tell nothing. */
export const fewestPoints = 6;

export function trendOf(points: readonly Point[], { absolute, relative }: Slack): Trend {
  const third = Math.max(1, Math.floor(points.length / 3));
  const ys = points.map(({ y }) => y);
  const first = median(ys.slice(0, third));
  const last = median(ys.slice(-third));
  const slope = median(slopesOf(points));
  const span = (points.at(-1)?.x ?? 0) - (points[0]?.x ?? 0);
  const slack = Math.max(absolute, relative * first);
  return {
    points: points.length,
    slope,
    first,
    last,
    flat: points.length < fewestPoints || slope * span <= slack || last - first <= slack,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [below = 0, above = 0] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? above : (below + above) / 2;
}

function slopesOf(points: readonly Point[]): number[] {
  return points.flatMap((a, i) => points.slice(i + 1).map((b) => (b.y - a.y) / (b.x - a.x)));
}
