// SPDX-License-Identifier: MIT

const shortLifeMs = 1_000;
const firstDelayMs = 100;
const longestDelayMs = 5_000;

/** How long to wait before replacing a process that has lived `livedMs`, when it had itself been waited for `beforeMs`. */
export function nextDelay(beforeMs: number, livedMs: number): number {
  if (livedMs >= shortLifeMs) return 0;
  return beforeMs === 0 ? firstDelayMs : Math.min(beforeMs * 2, longestDelayMs);
}
