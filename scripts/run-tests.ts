// SPDX-License-Identifier: MIT
// Runs every check and test, each in a process of its own with a deadline, and adds up what they count: natively with the
// userspace engine, then under kernels that have kTLS with the kernel engine. A passing step is one line; a failing one shows its
// output. Arguments keep only the steps whose name contains one of them. The last line is
//   N passed, N failed, N skipped
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fetchKernels, type LabTest, labName, runInLabs } from './lab/lab.ts';
import { kernelTests, nativeBuilds, nativeSteps, withSanitizer } from './native-steps.ts';
import { type Counts, runStep, type Step, testFile } from './run-step.ts';

const node = process.execPath;
const notInLab = 'Not in the kernel lab';
const bin = 'node_modules/.bin';
const temporary = mkdtempSync(join(tmpdir(), 'ironsocket-tests-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));

// Test files that run side by side share one set of certificates.
process.env.IRONSOCKET_TEST_CERTIFICATES = join(temporary, 'certificates');
execFileSync(node, ['test/helpers/certificates.ts']);
// Node starts many times: a quarter of what it does then.
process.env.NODE_COMPILE_CACHE = join(temporary, 'compile-cache');

const cores = availableParallelism();
const wanted = process.argv.slice(2);
const isWanted = (name: string): boolean => wanted.length === 0 || wanted.some((part) => name.includes(part));
const behaviour = filesBelow('test/behaviour', /\.test\.ts$/).sort();
const total = { passed: 0, failed: 0, skipped: 0 };
const failedSteps: string[] = [];

const lab = labTests().filter((test) => isWanted(labName(test)));
const steps = [...checks(), ...testFiles('test/unit', 'test/helpers'), ...behaviourSteps(), ...nativeSteps()].filter(
  ({ name }) => isWanted(name),
);
const programs = [...steps.map(({ command }) => command[0] ?? ''), ...lab.map(({ file }) => file)];
const isNative = (step: Step): boolean => step.command[0]?.startsWith('build-native/') === true;
const builds = nativeBuilds
  .filter(
    ({ step, directory }) =>
      isWanted(step.name) ||
      steps.some(({ after }) => after === step.name) ||
      programs.some((program) => dirname(program) === directory),
  )
  .map(({ step }) => step);

const built = new Map(builds.map(({ name }) => [name, Promise.withResolvers<void>()]));
// Most tests wait more than they work; what they leave of the cores goes to the builds and what is built. What measures comes last.
fetchKernels(new Set(lab.map(({ kernel }) => kernel)));
const waiting = steps.filter((step) => !step.alone);
const others = waiting.filter((step) => !isNative(step));
await Promise.all([runAll(builds, 1), runAll(waiting.filter(isNative), 1), runOthers()]);
await runAll(
  steps.filter((step) => step.alone),
  1,
);
await runInLabs(lab, labEnvironment(), (test, counts) => add(labName(test), counts));
for (const name of failedSteps) console.log(`failed: ${name}`);
const none = builds.length + steps.length + lab.length === 0;
if (none) console.log(`nothing is called ${wanted.join(' or ')}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
const skipsCount = process.env.CI !== undefined;
process.exitCode = total.failed > 0 || none || (skipsCount && total.skipped > 0) ? 1 : 0;

/** Those with sanitizers have twice the time for everything, so twice as many of them go side by side. */
async function runOthers(): Promise<void> {
  const isSanitized = ({ after }: Step): boolean => after !== undefined;
  await runAll(
    others.filter((step) => !isSanitized(step)),
    cores,
  );
  await runAll(others.filter(isSanitized), 2 * cores);
}

function add(name: string, counts: Counts): void {
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
  if (counts.failed > 0) failedSteps.push(name);
}

function checks(): Step[] {
  const cc = filesBelow('native', /\.(cc|h)$/).concat(filesBelow('test', /\.(cc|h)$/));
  return [
    { name: 'biome', command: [`${bin}/biome`, 'ci', '--error-on-warnings', '--colors=off'], deadline: 60 },
    {
      name: 'clang-format',
      command: ['clang-format-14', '--dry-run', '-Werror', ...cc],
      deadline: 60,
      needs: ['clang-format-14'],
    },
    { name: 'types', command: [`${bin}/tsc`, '-p', 'test'], deadline: 120 },
    { name: 'generated files', command: [node, 'scripts/generate.ts', '--check'], deadline: 60 },
  ];
}

function testFiles(...directories: string[]): Step[] {
  const files = directories.flatMap((directory) => filesBelow(directory, /\.test\.ts$/)).sort();
  return files.map((file) => testFile(file, 300));
}

/**
 * Natively, with the userspace engine. What measures and what is about processes runs as it is; the rest with sanitizers, and as it is
 * only where the kernel lab does not do that. They come last: until then their builds take the time that the others leave. A file that
 * they can say nothing about says so: `// Without sanitizers: WHY`; one about processes for which they run as well: `// Also with
 * sanitizers: WHY`.
 */
function behaviourSteps(): Step[] {
  const steps = testFiles('test/behaviour').map((step) => ({ ...step, env: { IRONSOCKET_TEST_ENGINES: 'userspace' } }));
  const says = ({ name }: Step, mark: string): boolean => hasMark(readFileSync(name, 'utf8'), mark);
  const isPlain = (step: Step): boolean =>
    step.alone === true || step.name.includes('/process-') || says(step, 'Without sanitizers');
  const sanitized = steps.filter((step) => !isPlain(step) || says(step, 'Also with sanitizers'));
  return [
    ...steps.filter((step) => isPlain(step) || says(step, notInLab)),
    ...sanitized.map((step) => withSanitizer(step, 'address')),
    ...sanitized.map((step) => withSanitizer(step, 'thread')),
  ];
}

/**
 * On the newest kernel with both directions or one alone; on 6.1, where user-mode-linux is half as fast, one alone only where that
 * differs, because 6.1 can't change keys; and not the files that leave the choice to `auto`, which for that reason gives TLS 1.3 to
 * userspace there, as natively. A file with nothing to show in one of these says so with its reason: `// Not in the kernel lab: WHY`,
 * `// In the kernel lab on the newest alone: WHY`, `// In the kernel lab never one direction alone: WHY`.
 */
function labTests(): LabTest[] {
  const every = 'kernel,kernel-tx,kernel-rx';
  const tests: LabTest[] = [{ kernel: '6.12', file: kernelTests, engines: every }];
  // The short files of 6.1 come last, so that no core has long to wait for the others at the end.
  for (const kernel of ['newest', '6.1'] as const) {
    tests.push({ kernel, file: kernelTests, engines: every });
    for (const file of behaviour) {
      const source = readFileSync(file, 'utf8');
      const says = (mark: string): boolean => hasMark(source, mark);
      const isAuto = !/helpers\/(variants|engines)\.ts/.test(source);
      const isNewest = isAuto || says('In the kernel lab on the newest alone');
      if (says(notInLab) || (kernel === '6.1' && isNewest)) continue;
      const isWhole = says('In the kernel lab never one direction alone');
      const isOlder = kernel === '6.1' && !file.includes('key-update');
      tests.push({ kernel, file, engines: isWhole || isOlder ? 'kernel' : every });
    }
  }
  return tests;
}

/** Marks stand in the head of a test file, each on a line that begins with it. */
function hasMark(source: string, mark: string): boolean {
  return source.includes(`\n// ${mark}: `);
}

/** For tests inside the lab. Its one CPU has slow system calls, and the AES of its kernel is plain C. */
function labEnvironment(): string[] {
  return [
    'IRONSOCKET_TEST_TIME_FACTOR=5',
    'IRONSOCKET_TEST_BULK_MIB=16',
    `NODE_COMPILE_CACHE=${process.env.NODE_COMPILE_CACHE}`,
    `IRONSOCKET_TEST_CERTIFICATES=${process.env.IRONSOCKET_TEST_CERTIFICATES}`,
  ];
}

/** Starts them in their order, so many side by side. */
async function runAll(list: readonly Step[], beside: number): Promise<void> {
  const running = new Set<Promise<void>>();
  for (const step of list) {
    await built.get(step.after ?? '')?.promise;
    while (running.size >= beside) await Promise.race(running);
    const run = runStep(step)
      .then((counts) => add(step.name, counts))
      .finally(() => {
        running.delete(run);
        built.get(step.name)?.resolve();
      });
    running.add(run);
  }
  await Promise.all(running);
}

function filesBelow(directory: string, pattern: RegExp): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name))
    .map((name) => join(directory, name));
}
