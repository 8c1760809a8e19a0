// SPDX-License-Identifier: MIT
// One check or test in a process of its own with a deadline. A passing one is one line, a failing one shows its output.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Step {
  readonly name: string;
  readonly command: readonly string[];
  /** Seconds. */
  readonly deadline: number;
  /** Reads the counts out of the output of a step that ended with 0; left out: the step is one test. */
  readonly count?: (output: string) => Counts | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** What to show of the output of a step that failed; left out: all of it. */
  readonly failures?: (output: string) => string;
  /** Not beside others: it measures. */
  readonly alone?: boolean;
  /** Name of a step that must have ended before, if it runs at all. */
  readonly after?: string;
  /** Programs without which it is skipped. */
  readonly needs?: readonly string[];
}

/** A file of test/unit, test/helpers or test/behaviour. */
export function testFile(file: string, deadline: number): Step {
  return {
    name: file,
    command: [process.execPath, '--disable-warning=ExperimentalWarning', file],
    deadline,
    count: suiteCounts,
    alone: /^\/\/ Runs alone/m.test(readFileSync(file, 'utf8')),
  };
}

/** Runs a step and says how it went; `prefix` stands before its name. */
export async function runStep(step: Step, prefix = ''): Promise<Counts> {
  const name = `${prefix}${step.name}`;
  const missing = step.needs?.filter((program) => !isInstalled(program)) ?? [];
  if (missing.length > 0) {
    console.log(`skipped  ${name}: ${missing.join(', ')} not installed`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const started = performance.now();
  const { output, ending } = await runCommand(step);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const counted = step.count?.(output) ?? (step.count === undefined ? { passed: 1, failed: 0, skipped: 0 } : undefined);
  // No test at all is no success.
  const good = ending === 'exit 0' && counted !== undefined && counted.passed + counted.skipped > 0;
  const failed = good ? counted.failed : Math.max(counted?.failed ?? 1, 1);
  const passed = step.count === undefined && failed > 0 ? 0 : (counted?.passed ?? 0);
  if (failed > 0) {
    const shown = step.failures?.(output) ?? output;
    console.log(`${shown.trimEnd()}\nFAILED   ${name}: ${ending}, ${failed} failed, ${passed} passed, ${seconds} s`);
  } else {
    for (const line of output.split('\n')) if (line.startsWith('skipped: ')) console.log(line);
    console.log(`ok       ${name}: ${passed} passed, ${seconds} s`);
  }
  return { passed, failed, skipped: counted?.skipped ?? 0 };
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

/** The last line of test/helpers/suite.ts. */
export function suiteCounts(output: string): Counts | undefined {
  return parseCounts(/^counts: (\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(output));
}

export function doctestCounts(output: string): Counts | undefined {
  return parseCounts(/test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped/.exec(output));
}

/** The tests that failed and the end: those that passed leave their messages in the output, too. */
export function doctestFailures(output: string): string {
  const rule = '='.repeat(79);
  const parts = output.split(`${rule}\n`);
  return parts
    .filter((part, i) => i === parts.length - 1 || /ERROR|WARNING|runtime error/.test(part))
    .join(`${rule}\n`);
}

function parseCounts(match: RegExpExecArray | null): Counts | undefined {
  if (match === null) return undefined;
  return { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3]) };
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => existsSync(join(directory, program)));
}
