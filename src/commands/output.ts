// SPDX-License-Identifier: MIT
// What becomes of output that can't be written: without this, `ironsocket doctor --json > FILE` on a full disk would look well.
import { exitCodes } from '../errors.ts';

/** Tells the first failure of stdout on stderr and sets the exit code. A reader that has gone (EPIPE) is none: `ironsocket check | head`. */
export function watchOutput(): void {
  let told = false;
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE' || told) return;
    told = true;
    process.stderr.write(`ironsocket: the output can't be written: ${message}\n`);
    process.exitCode = exitCodes.output;
  });
}
