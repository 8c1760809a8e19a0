// SPDX-License-Identifier: MIT
// Where processes spend their time while something is done to them: Debian's perf, by the clock of the CPU, which virtual machines have.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { putFirst } from './cores.ts';
import { installed } from './programs.ts';
import { wait } from './running.ts';

/** It does not say when it has begun. */
const startMs = 500;
const samplesPerSecond = '1999';

/**
 * Writes `name`.perf, for `perf report -i`, and `name`.txt, threads, libraries and functions by their time, into `folder`. Rejects when perf can't
 * be had or says no.
 */
export async function profile<T>(
  folder: string,
  name: string,
  pids: readonly number[],
  run: () => Promise<T>,
): Promise<T> {
  installed.provide(['linux-perf']);
  mkdirSync(folder, { recursive: true });
  const data = join(folder, `${name}.perf`);
  const options = ['-q', '-F', samplesPerSecond, '-e', 'cpu-clock', '-g', '-p', pids.join(), '-o', data];
  const perf = spawn('perf', ['record', ...options], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  putFirst(perf.pid ?? 0);
  let said = '';
  perf.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = once(perf, 'close');
  try {
    await wait(startMs);
    const result = await run();
    if (perf.exitCode !== null) throw new Error(`perf: ${said.trim()}`);
    perf.kill('SIGINT');
    await ended;
    const reports = ['comm,dso', 'comm,dso,sym'].map((keys) => reportOf(data, keys));
    writeFileSync(join(folder, `${name}.txt`), reports.join('\n'));
    return result;
  } finally {
    perf.kill('SIGKILL');
  }
}

function reportOf(data: string, keys: string): string {
  const options = ['--stdio', '--no-children', '-g', 'none', '--percent-limit', '0.5', '--sort', keys];
  return execFileSync('perf', ['report', '-i', data, ...options], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .join('\n')
    .concat('\n');
}
