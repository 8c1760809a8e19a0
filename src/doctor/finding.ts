// SPDX-License-Identifier: MIT

/**
 * `ok`: as it should be. `note`: a fact or a limit that needs no action. `warn`: works, and something should be done.
 * `missing`: what could be there is not; ironsocket works without it.
 */
export type FindingStatus = 'ok' | 'note' | 'warn' | 'missing';
export const sections = ['kernel', 'network', 'limits', 'openssl', 'surroundings'] as const;

export interface Finding {
  /** Stable: programs and docs/doctor.md name it. */
  readonly id: string;
  readonly section: (typeof sections)[number];
  readonly status: FindingStatus;
  /** What was looked at, in a word or three. */
  readonly topic: string;
  /** What was found. */
  readonly text: string;
  /** What it means, one sentence. */
  readonly meaning?: string;
  /** What to do, one sentence; ends with a colon where `command` follows. */
  readonly action?: string;
  /** For a shell, on one line. */
  readonly command?: string;
}
