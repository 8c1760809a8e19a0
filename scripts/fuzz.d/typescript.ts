// SPDX-License-Identifier: MIT
// The targets in TypeScript, each in a process of its own.
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import type { Report } from './guided.ts';
import type { FuzzResult } from './result.ts';

const program = 'scripts/fuzz.d/guided.ts';

/** By their files: a help text has no addon, which they load. */
export function typescriptTargets(): string[] {
  const others = ['guided.ts', 'targets.ts'];
  const names = readdirSync('test/fuzz').filter((name) => name.endsWith('.ts') && !others.includes(name));
  return names.map((name) => basename(name, '.ts')).sort();
}

export async function fuzzTypescript(name: string, work: string, seconds: number): Promise<FuzzResult> {
  const { executions, places, error, input, ...report } = await run('fuzz', name, work, String(seconds));
  const again = `node_modules/.bin/node ${program} again ${name} ${input}`;
  return {
    ...{ name, executions, coverage: places, added: 0, seconds: report.seconds },
    kept: readdirSync(`test/fuzz/corpus/${name}`).length,
    finding: error === undefined ? undefined : { what: error, input, again },
  };
}

/** Takes over inputs that reach places which no kept one does. Gives how many. */
export async function mergeTypescript(name: string, work: string): Promise<number> {
  return (await run('merge', name, work, '0')).added;
}

async function run(...args: readonly string[]): Promise<Report> {
  const options = ['--disable-warning=ExperimentalWarning', program, ...args];
  const { stdout } = await promisify(execFile)(process.execPath, options, { maxBuffer: 1 << 26 });
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Report;
}
