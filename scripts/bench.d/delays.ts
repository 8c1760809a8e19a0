// SPDX-License-Identifier: MIT
// Arithmetic of delays: what each message took from its sender to its receiver, and which pauses of a stream follow from that.

/** Microseconds of CLOCK_MONOTONIC, the same in every process of a machine. */
export function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

/** A message that took longer than `slowUs`. Times are in microseconds. */
export interface SlowMessage {
  readonly stream: number;
  readonly sentUs: number;
  readonly delayUs: number;
}

export interface Taken {
  /** By delay: bucket i has those of i to i + 1 times `bucketUs`, the last one all that took longer. */
  readonly histogram: Uint32Array;
  readonly slow: readonly SlowMessage[];
}

export interface Window {
  readonly fromUs: number;
  readonly toUs: number;
}

/** Shorter pauses than this are not told from none. */
export const slowUs = 1_000;
export const bucketUs = 10;
const buckets = 10_000;

/** Of one process, since `take` was called last. */
export class Delays {
  #histogram = new Uint32Array(buckets);
  #slow: SlowMessage[] = [];

  add(stream: number, sentUs: number, delayUs: number): void {
    const bucket = Math.min(buckets - 1, Math.max(0, Math.floor(delayUs / bucketUs)));
    this.#histogram[bucket] = (this.#histogram[bucket] ?? 0) + 1;
    if (delayUs > slowUs) this.#slow.push({ stream, sentUs, delayUs });
  }

  take(): Taken {
    const taken = { histogram: this.#histogram, slow: this.#slow };
    this.#histogram = new Uint32Array(buckets);
    this.#slow = [];
    return taken;
  }
}

/** Bound that `part` (0 to 1) of all messages stayed under; 0 without any. */
export function histogramQuantile(histograms: readonly Uint32Array[], part: number): number {
  const count = (i: number) => histograms.reduce((sum, histogram) => sum + (histogram[i] ?? 0), 0);
  const sums = Array.from({ length: buckets }, (_, i) => count(i));
  const total = sums.reduce((sum, each) => sum + each, 0);
  let seen = 0;
  for (const [i, sum] of sums.entries()) {
    seen += sum;
    if (seen > 0 && seen >= total * part) return (i + 1) * bucketUs;
  }
  return 0;
}

/** The smallest of `values` that `part` of them do not exceed; 0 without any. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? 0;
}

/**
 * For each of the streams how long it stood still in the window, in microseconds: how much longer than usual the slowest message took
 * that was on its way then. A stream none of whose messages was slow has 0, so a pause between two messages is none: nobody noticed it.
 */
export function pausesOf(
  slow: readonly SlowMessage[],
  streams: readonly number[],
  { fromUs, toUs }: Window,
  usualUs: number,
): number[] {
  const longest = new Map<number, number>(streams.map((stream) => [stream, 0]));
  for (const { stream, sentUs, delayUs } of slow) {
    const known = longest.get(stream);
    if (known === undefined || sentUs >= toUs || sentUs + delayUs <= fromUs) continue;
    longest.set(stream, Math.max(known, delayUs - usualUs));
  }
  return [...longest.values()];
}
