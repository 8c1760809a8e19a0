// SPDX-License-Identifier: MIT
// The ironsocket under test: this checkout as it is, or with IRONSOCKET_TEST_SANITIZER=address or =thread the installation that
// native/CMakeLists.txt builds with these sanitizers. Its programs then run with the sanitizer's runtime loaded first, which Node itself,
// not built with it, needs. What a sanitizer reports goes into files; test/helpers/suite.ts fails the test during which one appears.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const runtimes = {
  address: { library: 'libasan.so', directory: 'build-native/asan/installation' },
  thread: { library: 'libtsan.so', directory: 'build-native/tsan/installation' },
} as const;

export const sanitizer = chosen();
/** Its directory. */
export const root = sanitizer === undefined ? checkout : join(checkout, runtimes[sanitizer].directory);
export const nodePath = join(
  checkout,
  sanitizer === undefined ? 'node_modules/.bin/node' : 'test/helpers/sanitized-node',
);
export const cliPath = join(root, 'dist/cli.js');
export const keeperPath = join(root, 'build/Release/keeper');
export const workerPath = join(root, 'dist/worker/main.js');

/** Why a test can't say anything here; undefined: it can. */
export const unlessSanitized = (why: string): string | undefined => (sanitizer === undefined ? undefined : why);

/** How much of a report has been told, by the name of its file. */
const told = new Map<string, number>();
const reports = sanitizer === undefined ? undefined : prepare(sanitizer);

/** What sanitizers have reported since the last call; empty: nothing. */
export function newReports(): string {
  if (reports === undefined) return '';
  const texts = readdirSync(reports).map((name) => {
    const text = readFileSync(join(reports, name), 'utf8');
    const seen = told.get(name) ?? 0;
    told.set(name, text.length);
    return text.slice(seen);
  });
  return texts.join('');
}

function chosen(): keyof typeof runtimes | undefined {
  const wanted = process.env.IRONSOCKET_TEST_SANITIZER;
  if (wanted === undefined || wanted === '') return undefined;
  if (wanted !== 'address' && wanted !== 'thread') throw new Error(`IRONSOCKET_TEST_SANITIZER: no sanitizer ${wanted}`);
  return wanted;
}

/** Sets the environment of all programs that start from now on; gives the directory for reports. */
function prepare(kind: keyof typeof runtimes): string {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-reports-'));
  // Workers have no rights when they find something.
  chmodSync(directory, 0o777);
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const { library } = runtimes[kind];
  const options = `log_path=${join(directory, kind)}`;
  Object.assign(process.env, {
    IRONSOCKET_TEST_RUNTIME: execFileSync('g++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim(),
    // What leaks is looked for by the native tests: at its exit Node gives back nothing, and who is not dumpable can't be searched.
    ASAN_OPTIONS: `${options}:detect_leaks=0`,
    UBSAN_OPTIONS: `${options}:print_stacktrace=1`,
    TSAN_OPTIONS: `${options}:suppressions=${join(checkout, 'test/helpers/tsan-suppressions.txt')}`,
  });
  return directory;
}
