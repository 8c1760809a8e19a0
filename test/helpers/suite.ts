// SPDX-License-Identifier: MIT
// uvu with what it lacks: a deadline for every test, cleaning up in reverse order, rejections nobody waited for as failures
// (also those with something that is no Error), and so are reports of sanitizers and sessions left in the kernel, and a last line that
// scripts/run-tests.ts adds up:
//   counts: 3 passed, 0 failed, 1 skipped
// A process that ends before all its tests have is a failure.
import { suite as uvuSuite } from 'uvu';
import { newReports } from './installation.ts';
import { inKernel, inKernelAgain } from './kernel-counters.ts';
import { timeFactor } from './time.ts';

export interface TestContext {
  /** Runs at the end of the test, last one first, also after a failure. */
  readonly after: (clean: () => unknown) => void;
}

export interface TestOptions {
  /** Milliseconds, times the factor of time.ts; 30 s if left out. */
  readonly deadline?: number;
  /** Why the test can't run here; undefined: it can. */
  readonly skip?: string | undefined;
}

const suite = uvuSuite();
const counts = { registered: 0, passed: 0, failed: 0, skipped: 0 };
const cleanups: (() => unknown)[] = [];
/** Sessions in the kernel: none must be left when all proxies of the file have ended. */
const kernelBefore = inKernel();
let started = false;
let failRunning: ((error: Error) => void) | undefined;

/** Declares a test. All start in their order once the file, which awaits nothing after the first test, has been read. */
export function test(name: string, body: (t: TestContext) => unknown, options: TestOptions = {}): void {
  if (started) throw new Error(`too late: the tests of this file have started without ${name}`);
  if (counts.registered + counts.skipped === 0) setImmediate(start);
  if (options.skip !== undefined) {
    counts.skipped++;
    console.log(`skipped: ${name}: ${options.skip}`);
    return;
  }
  counts.registered++;
  suite(name, async () => {
    const own: (() => unknown)[] = [];
    const begun = performance.now();
    try {
      await withDeadline(name, options.deadline ?? 30_000, () => body({ after: (clean) => own.push(clean) }));
      await withDeadline(`cleaning up after ${name}`, 40_000, () => runAll(own));
      checkReports();
      counts.passed++;
      const seconds = (performance.now() - begun) / 1000;
      if (seconds > 2) console.log(`${name}: ${seconds.toFixed(1)} s`);
    } catch (error) {
      counts.failed++;
      await withDeadline('cleaning up', 40_000, () => runAll(own)).catch((second) => console.error(second));
      throw asError(error);
    }
  });
}

/** For what must be there before the first test is declared: a file that waits later ends before all its tests are known. */
export function beforeTests(what: string): void {
  if (counts.registered + counts.skipped > 0) throw new Error(`too late: ${what} must stand before the first test`);
}

/** Runs once after the last test of the file: for what all its tests share. */
export function afterAll(clean: () => unknown): void {
  cleanups.push(clean);
}

function start(): void {
  started = true;
  suite.run();
}

async function runAll(list: (() => unknown)[]): Promise<void> {
  const errors: unknown[] = [];
  for (let clean = list.pop(); clean !== undefined; clean = list.pop()) {
    try {
      await clean();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

async function withDeadline(what: string, usual: number, body: () => unknown): Promise<void> {
  const ms = usual * timeFactor;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    failRunning = reject;
    timer = setTimeout(() => reject(new Error(`${what}: not done after ${ms} ms`)), ms);
  });
  try {
    await Promise.race([body(), limit]);
  } finally {
    clearTimeout(timer);
    failRunning = undefined;
  }
}

/** Throws when a sanitizer has reported anything (installation.ts). */
function checkReports(): void {
  const text = newReports();
  if (text !== '') throw new Error(text);
}

function asError(thrown: unknown): Error {
  const error = thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`);
  // uvu prints the message and then the stack but for its first line, which would repeat a message of several lines.
  const frames = error.stack?.split('\n').filter((line) => line.startsWith('    at '));
  error.stack = [error.name, ...(frames ?? [])].join('\n');
  return error;
}

function failLoudly(thrown: unknown): void {
  const error = asError(thrown);
  if (failRunning !== undefined) {
    failRunning(error);
    return;
  }
  console.error(error.message, error.stack);
  counts.failed++;
  if (!started) process.exit();
}
process.on('unhandledRejection', failLoudly);
process.on('uncaughtException', failLoudly);

suite.after(async () => {
  // They run from the last to the first.
  cleanups.unshift(checkReports, () => inKernelAgain(kernelBefore));
  await withDeadline('the last cleaning up of the file', 40_000, () => runAll(cleanups)).catch((error) => {
    counts.failed++;
    console.error(error);
  });
  // Whatever a test left open must not keep the process.
  setImmediate(() => process.exit());
});

process.on('exit', () => {
  const unfinished = counts.registered - counts.passed - counts.failed;
  if (unfinished > 0) console.error(`${unfinished} tests did not finish`);
  const failed = counts.failed + Math.max(unfinished, 0);
  if (failed > 0) process.exitCode = 1;
  process.stdout.write(`counts: ${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped\n`);
});
