// SPDX-License-Identifier: MIT
// How many system calls processes make while something is done to them: counted by the kernel where it has tracepoints, else by strace,
// which slows them down several times.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { putFirst } from './cores.ts';
import { installed } from './programs.ts';
import { wait } from './running.ts';

export interface Counted<T> {
  readonly calls: number;
  readonly result: T;
}

export async function countCalls<T>(pids: readonly number[], run: () => Promise<T>): Promise<Counted<T>> {
  installed.provide(['linux-perf', 'strace']);
  const counter = hasTracepoints() ? await startPerf(pids) : await startStrace(pids);
  let said = '';
  counter.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = once(counter, 'close');
  try {
    const result = await run();
    counter.kill('SIGINT');
    await ended;
    return { calls: parseCalls(said), result };
  } finally {
    counter.kill('SIGKILL');
  }
}

/** From what `perf stat -x,` or `strace -c` says. Throws when neither has said it. */
export function parseCalls(text: string): number {
  const match = /^(\d+),,raw_syscalls:sys_enter/m.exec(text) ?? /^100\.00 +[\d.]+ +\d+ +(\d+) .*total$/m.exec(text);
  if (match === null) throw new Error(`no count of system calls: ${text.trim()}`);
  return Number(match[1]);
}

const event = 'raw_syscalls:sys_enter';

function hasTracepoints(): boolean {
  return spawnSync('perf', ['stat', '-e', event, 'true'], { stdio: 'ignore' }).status === 0;
}

async function startPerf(pids: readonly number[]): Promise<ChildProcess> {
  const options = ['stat', '-x,', '-e', event, '-p', pids.join()];
  const child = spawn('perf', options, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  putFirst(child.pid ?? 0);
  await wait(500); // it does not say when it counts
  return child;
}

async function startStrace(pids: readonly number[]): Promise<ChildProcess> {
  const all = pids.flatMap((pid) => ['-p', String(pid)]);
  const child = spawn('strace', ['-c', '-f', ...all], { stdio: ['ignore', 'ignore', 'pipe'] });
  const threads = pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/task`).length, 0);
  let said = '';
  const attached = Promise.withResolvers<void>();
  const look = (text: Buffer) => {
    said += text.toString('latin1');
    if ([...said.matchAll(/ attached/g)].length >= pids.length && countOf(said) >= threads) attached.resolve();
  };
  child.stderr.on('data', look);
  child.on('close', () => attached.reject(new Error(`strace: ${said.trim()}`)));
  await attached.promise;
  child.stderr.off('data', look);
  return child;
}

/** Threads that strace has got, by its words: "Process 12 attached with 7 threads". */
function countOf(said: string): number {
  return [...said.matchAll(/ attached(?: with (\d+) threads)?/g)].reduce(
    (sum, [, count]) => sum + Number(count ?? 1),
    0,
  );
}
