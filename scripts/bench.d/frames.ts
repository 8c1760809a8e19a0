// SPDX-License-Identifier: MIT
// How many frames of sessions one core writes and reads in a second: what test/speed says of the plain build, which is made if need be.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

export interface FrameRates {
  /** Of a frame. */
  readonly bytes: number;
  /** Frames per second of one core's time. */
  readonly encoded: number;
  readonly decoded: number;
  /** Decoded, and made a session of again. */
  readonly restored: number;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = 'build-native/plain';
const message =
  /frames of (\d+) bytes a second and core: ([\d.e+]+) encoded, ([\d.e+]+) decoded, ([\d.e+]+) decoded and made/;

/** Throws where it can't be built. */
export function measureFrames(): FrameRates {
  const run = (program: string, ...args: string[]) =>
    execFileSync(program, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  run('cmake', '-S', 'native', '-B', directory, '-DSANITIZE=', '-DCMAKE_BUILD_TYPE=RelWithDebInfo');
  run('cmake', '--build', directory, '-j', String(availableParallelism()), '--target', 'speed-tests');
  const output = run(`${directory}/speed-tests`, '--test-case=handoff frame*');
  const rates = message.exec(output)?.slice(1).map(Number);
  if (rates === undefined) throw new Error(`no rates in ${output}`);
  const [bytes = 0, encoded = 0, decoded = 0, restored = 0] = rates;
  return { bytes, encoded, decoded, restored };
}

export function framesText({ bytes, encoded, decoded, restored }: FrameRates): string {
  const round = (rate: number) => `${Math.round(rate / 1000)}`;
  return `frames of ${bytes} bytes, thousands a second and core: ${round(encoded)} encoded, ${round(decoded)} decoded and checked, ${round(restored)} decoded and made sessions`;
}
