// SPDX-License-Identifier: MIT
// Tests under kernels that have kTLS: test files with the kernel engine, and native programs, several in one boot of
// scripts/kernel-lab.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import type { Counts } from '../run-step.ts';

export type Kernel = '6.1' | '6.12' | 'newest';

export interface LabTest {
  readonly kernel: Kernel;
  /** A test file, or a program written with doctest. */
  readonly file: string;
  /** IRONSOCKET_TEST_ENGINES for a test file. */
  readonly engines: string;
}

/** A crash of the kernel takes the rest of its boot with it; a boot costs two seconds. */
const filesPerBoot = 6;
const secondsPerFile = 240;

export function labName({ kernel, file }: LabTest): string {
  return `lab ${kernel}: ${file}`;
}

/** Starts to fetch what is not there yet. What goes wrong is told when a test needs it. */
export function fetchKernels(kernels: Iterable<Kernel>): void {
  for (const kernel of kernels) {
    spawn('scripts/kernel-lab', ['--kernel', kernel, 'true'], { stdio: 'ignore' }).on('error', () => {});
  }
}

/** Runs the tests in their order, one boot more side by side than there are cores, because most of them wait; `report` is told of every test once. */
export async function runInLabs(
  tests: readonly LabTest[],
  environment: readonly string[],
  report: (test: LabTest, counts: Counts) => void,
): Promise<void> {
  const boots: LabTest[][] = [];
  for (const kernel of new Set(tests.map((test) => test.kernel))) {
    const own = tests.filter((test) => test.kernel === kernel);
    for (let at = 0; at < own.length; at += filesPerBoot) boots.push(own.slice(at, at + filesPerBoot));
  }
  const work = async (): Promise<void> => {
    for (let next = boots.shift(); next !== undefined; next = boots.shift()) await boot(next, environment, report);
  };
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, work));
}

/** One boot. What has not been run when it ends has failed, or, where the lab can't be had (exit code 69), is skipped. */
async function boot(
  tests: readonly LabTest[],
  environment: readonly string[],
  report: (test: LabTest, counts: Counts) => void,
): Promise<void> {
  const kernel = tests[0]?.kernel ?? '6.1';
  const limit = String(tests.length * secondsPerFile + 60);
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', 'scripts/lab/run-files.ts'];
  const child = spawn(
    'scripts/kernel-lab',
    [
      ...['--kernel', kernel, '--timeout', limit, ...environment.flatMap((each) => ['--env', each])],
      ...[...command, String(secondsPerFile), ...tests.flatMap(({ file, engines }) => [engines, file])],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const left = new Map(tests.map((test) => [test.file, test]));
  // Lines of two kernels must not mix, so those of a test are kept until it is done.
  const lines: string[] = [];
  const show = (): void => {
    if (lines.length > 0) console.log(lines.join('\n'));
    lines.length = 0;
  };
  const take = (line: string): void => {
    const [, file = '', counts = ''] = /^done: (\S+): (.*)$/.exec(line) ?? [];
    const test = left.get(file);
    if (test === undefined) {
      lines.push(line.replace(/^(ok|FAILED|skipped) +/, (outcome) => `${outcome}lab ${kernel}: `));
      return;
    }
    left.delete(file);
    show();
    report(test, JSON.parse(counts) as Counts);
  };
  createInterface({ input: child.stdout }).on('line', take);
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const missing = code === 69;
  for (const test of left.values()) {
    lines.push(`${missing ? 'skipped ' : 'FAILED  '} ${labName(test)}: not run, the lab ended with ${code}`);
    report(test, { passed: 0, failed: missing ? 0 : 1, skipped: missing ? 1 : 0 });
  }
  show();
}
