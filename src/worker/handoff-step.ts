// SPDX-License-Identifier: MIT
// Where a test may stop the handoff of sessions. It stands still then, until a process or the donor's patience ends.

export const handoffSteps = [
  /** Both workers have their ends of the pairs; nothing has gone. */
  'no-batch',
  /** The first batch of each relay thread lies in its pair, without an answer. */
  'unanswered',
  /** One session of each relay thread has gone, the next lies in the pair, the others wait. */
  'part-given',
  /** All have gone; the old worker has not left. */
  'all-given',
] as const;
export type HandoffStep = (typeof handoffSteps)[number];

/** What the engines of both workers are told for it. */
export function limitsAt(step: HandoffStep | undefined): { readonly most?: number; readonly answers?: number } {
  switch (step) {
    case 'no-batch':
      return { most: 0 };
    case 'unanswered':
      return { answers: 0 };
    case 'part-given':
      return { most: 1, answers: 1 };
    default:
      return {};
  }
}
