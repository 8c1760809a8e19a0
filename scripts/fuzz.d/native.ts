// SPDX-License-Identifier: MIT
// The targets in C++, with clang's libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { cpuSeconds } from '../bench.d/processes.ts';
import type { Finding, FuzzResult } from './result.ts';

const directory = 'build-native/fuzz';
const pollMs = 500;

export function nativeTargets(): string[] {
  const names = readdirSync('test/fuzz').filter((name) => name.endsWith('.cc') && name !== 'replay.cc');
  return names.map((name) => basename(name, '.cc')).sort();
}

export function build(names: readonly string[], jobs: number): void {
  const [compiler] = compilers();
  const options = ['-DFUZZ=ON', '-DSANITIZE=address,undefined', '-DCMAKE_BUILD_TYPE=RelWithDebInfo'];
  const stdio = ['ignore', 'ignore', 'inherit'] as const;
  const configure = ['-S', 'native', '-B', directory, `-DCMAKE_CXX_COMPILER=${compiler}`, ...options];
  execFileSync('cmake', configure, { stdio: [...stdio] });
  const targets = names.map((name) => `libfuzzer-${name}`);
  execFileSync('cmake', ['--build', directory, '-j', String(jobs), '--target', ...targets], { stdio: [...stdio] });
}

/** Those there are, the newest first; Debian's packages put their number behind the name. */
export function compilers(): string[] {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((place) => existsSync(place))
    .flatMap((place) => readdirSync(place).filter((name) => /^clang\+\+(-\d+)?$/.test(name)));
  return found.sort((a, b) => numberIn(b) - numberIn(a));
}

function numberIn(name: string): number {
  return Number(/\d+$/.exec(name)?.[0] ?? 0);
}

/** `work` grows; `seconds` are the processor's, so that a busy machine takes longer and not less. */
export async function fuzzNative(name: string, work: string, seconds: number): Promise<FuzzResult> {
  const kept = `test/fuzz/corpus/${name}`;
  for (const each of [kept, work]) mkdirSync(each, { recursive: true });
  const program = join(directory, `libfuzzer-${name}`);
  const log = `${work}.log`;
  // Of an input, in seconds as they pass: beside other work a slow one is not a hang.
  const args = ['-timeout=300', '-rss_limit_mb=4096', '-print_final_stats=1', `-artifact_prefix=${work}-`, work, kept];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const sink = createWriteStream(log);
  child.stderr.pipe(sink);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  let used = 0;
  let asked = false;
  while (child.exitCode === null && child.signalCode === null) {
    used = Math.max(used, cpuSeconds(child.pid === undefined ? [] : [child.pid]));
    // It ends with its summary.
    if (used >= seconds && !asked) asked = child.kill('SIGUSR1');
    await Promise.race([exited, wait(pollMs)]);
  }
  const [code] = await exited;
  await finished(sink);
  const output = readFileSync(log, 'latin1');
  const finding = code === 0 ? undefined : findingOf(output, program, log);
  return {
    name,
    executions: lastNumber(output, /number_of_executed_units: (\d+)/g),
    seconds: used,
    coverage: lastNumber(output, /cov: (\d+)/g),
    kept: readdirSync(kept).length,
    added: 0,
    finding,
  };
}

/** Takes over inputs that reach edges which no kept one does. Gives how many. */
export function mergeNative(name: string, work: string): number {
  const kept = `test/fuzz/corpus/${name}`;
  const before = readdirSync(kept).length;
  spawnSync(join(directory, `libfuzzer-${name}`), ['-merge=1', '-use_counters=0', '-timeout=300', kept, work], {
    stdio: 'ignore',
  });
  return readdirSync(kept).length - before;
}

function findingOf(output: string, program: string, log: string): Finding {
  const what =
    /^.*this does not hold$/m.exec(output)?.[0] ??
    /^SUMMARY: .*$/m.exec(output)?.[0] ??
    `it ended without a word, see ${log}`;
  const input = /Test unit written to (\S+)/.exec(output)?.[1];
  return { what, input, again: input === undefined ? `see ${log}` : `${program} ${input}` };
}

function lastNumber(text: string, pattern: RegExp): number {
  return Number([...text.matchAll(pattern)].at(-1)?.[1] ?? 0);
}
