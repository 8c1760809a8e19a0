// SPDX-License-Identifier: MIT
// Runs every check and test in order, each in a process of its own with a deadline, and adds up what they count. A passing step is
// one line; a failing one shows its output. Arguments keep only the steps whose name contains one of them. The last line is
//   N passed, N failed, N skipped
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** Seconds. */
  readonly deadline: number;
  /** Reads the counts out of the output of a step that ended with 0; left out: the step is one test. */
  readonly count?: (output: string) => Counts | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** Not beside others: it measures. */
  readonly alone?: boolean;
  /** Programs without which it is skipped. */
  readonly needs?: readonly string[];
}

const node = process.execPath;
const bin = 'node_modules/.bin';
const temporary = mkdtempSync(join(tmpdir(), 'ironsocket-tests-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));

// Test files that run side by side share one set of certificates.
process.env.IRONSOCKET_TEST_CERTIFICATES = join(temporary, 'certificates');
execFileSync(node, ['test/helpers/certificates.ts']);

const cores = availableParallelism();
const wanted = process.argv.slice(2);
const steps = [
  ...checks(),
  ...testFiles('test/unit', 'test/helpers'),
  ...native(),
  ...testFiles('test/behaviour'),
].filter((step) => wanted.length === 0 || wanted.some((part) => step.name.includes(part)));
const total = { passed: 0, failed: 0, skipped: 0 };
const failedSteps: string[] = [];
await runAll(steps);
for (const name of failedSteps) console.log(`failed: ${name}`);
if (steps.length === 0) console.log(`nothing is called ${wanted.join(' or ')}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
const skipsCount = process.env.CI !== undefined;
process.exitCode = total.failed > 0 || steps.length === 0 || (skipsCount && total.skipped > 0) ? 1 : 0;

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

/** Native tests and the kept fuzz corpora, once with each set of sanitizers. */
function native(): Step[] {
  const corpora = existsSync('test/fuzz/corpus') ? readdirSync('test/fuzz/corpus') : [];
  return [
    ['address,undefined', 'build-native/asan'],
    ['thread', 'build-native/tsan'],
  ].flatMap(([sanitize = '', directory = '']) => {
    const configure = `cmake -S native -B ${directory} -DSANITIZE=${sanitize} -DCMAKE_BUILD_TYPE=RelWithDebInfo`;
    const build = `${configure} && cmake --build ${directory} -j ${cores}`;
    const env = { TSAN_OPTIONS: 'halt_on_error=1', ASAN_OPTIONS: 'detect_leaks=1' };
    const common = { needs: ['cmake', 'g++'], env, alone: true };
    return [
      { ...common, name: `native build (${sanitize})`, command: ['bash', '-c', build], deadline: 900 },
      {
        ...common,
        name: `native tests (${sanitize})`,
        command: [`${directory}/native-tests`],
        deadline: 240,
        count: doctestCounts,
      },
      ...corpora.map((name) => ({
        ...common,
        name: `fuzz corpus ${name} (${sanitize})`,
        command: [`${directory}/fuzz-${name}`, `test/fuzz/corpus/${name}`],
        deadline: 120,
      })),
    ];
  });
}

function testFiles(...directories: string[]): Step[] {
  const files = directories.flatMap((directory) => filesBelow(directory, /\.test\.ts$/)).sort();
  return files.map((file) => ({
    name: file,
    command: [node, '--disable-warning=ExperimentalWarning', file],
    deadline: 180,
    count: suiteCounts,
    alone: /^\/\/ Runs alone/m.test(readFileSync(file, 'utf8')),
  }));
}

/** Steps keep their order; neighbours that may run side by side do, as many as there are cores. */
async function runAll(list: readonly Step[]): Promise<void> {
  const running = new Set<Promise<void>>();
  for (const step of list) {
    const parallel = step.count === suiteCounts && step.alone !== true;
    while (running.size >= (parallel ? cores : 1)) await Promise.race(running);
    const run = runStep(step).finally(() => running.delete(run));
    running.add(run);
    if (!parallel) await run;
  }
  await Promise.all(running);
}

async function runStep(step: Step): Promise<void> {
  const missing = step.needs?.filter((program) => !isInstalled(program)) ?? [];
  if (missing.length > 0) {
    console.log(`skipped  ${step.name}: ${missing.join(', ')} not installed`);
    total.skipped++;
    return;
  }
  const started = performance.now();
  const { output, ending } = await runCommand(step);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const counted = step.count?.(output) ?? (step.count === undefined ? { passed: 1, failed: 0, skipped: 0 } : undefined);
  const failed = ending === 'exit 0' && counted !== undefined ? counted.failed : Math.max(counted?.failed ?? 1, 1);
  const passed = step.count === undefined && failed > 0 ? 0 : (counted?.passed ?? 0);
  total.passed += passed;
  total.failed += failed;
  total.skipped += counted?.skipped ?? 0;
  if (failed > 0) {
    failedSteps.push(step.name);
    console.log(
      `${output.trimEnd()}\nFAILED   ${step.name}: ${ending}, ${failed} failed, ${passed} passed, ${seconds} s`,
    );
    return;
  }
  for (const line of output.split('\n')) if (line.startsWith('skipped: ')) console.log(line);
  console.log(`ok       ${step.name}: ${passed} passed, ${seconds} s`);
}

function runCommand(step: Step): Promise<{ output: string; ending: string }> {
  const [program = '', ...args] = step.command;
  // A group of its own, so that nothing a test leaves behind outlives the step.
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...step.env },
    detached: true,
  });
  const output: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
  return new Promise((resolve) => {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, step.deadline * 1000);
    child.on('error', (error) => output.push(Buffer.from(error.message)));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const ending = timedOut
        ? `not done after ${step.deadline} s`
        : code === null
          ? `signal ${signal}`
          : `exit ${code}`;
      resolve({ output: Buffer.concat(output).toString(), ending });
    });
    child.on('exit', () => killGroup(child.pid));
  });
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // Everyone in it has ended.
  }
}

function suiteCounts(output: string): Counts | undefined {
  return parseCounts(/^counts: (\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(output));
}

function doctestCounts(output: string): Counts | undefined {
  return parseCounts(/test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped/.exec(output));
}

function parseCounts(match: RegExpExecArray | null): Counts | undefined {
  if (match === null) return undefined;
  return { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3]) };
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => existsSync(join(directory, program)));
}

function filesBelow(directory: string, pattern: RegExp): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => pattern.test(name))
    .map((name) => join(directory, name));
}
