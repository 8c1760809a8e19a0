// SPDX-License-Identifier: MIT
// The load of the side-by-side measurements: the program of scripts/bench.d/load as backend and as clients, all on one core.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { loadCore, onCore, putFirst, setTurn, type Turn, withTurn } from './cores.ts';
import { installed, newest, withNewestLibraries } from './programs.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const directory = 'build-native/load';
let program: readonly string[] = [`${root}${directory}/load`];

/** Throws where it can't be built. */
export function buildLoad(): void {
  installed.provide(['cmake', 'g++', 'libssl-dev']);
  const cmake = (...args: string[]) => execFileSync('cmake', args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
  cmake('-S', 'scripts/bench.d/load', '-B', directory);
  cmake('--build', directory);
}

/** From now on: the handshakes of a client cost a third less with the newest OpenSSL than with 3.0, so that subjects wait less for it. */
export function loadWithNewestLibraries(): void {
  newest.provide([]);
  program = withNewestLibraries(`${root}${directory}/load`);
}

export interface JobOptions {
  readonly port: number;
  readonly connections?: number;
  readonly seconds?: number;
  readonly warm?: number;
  readonly bytes?: number;
  readonly rate?: number;
  /** Whose CPU time is measured. */
  readonly pids?: readonly number[];
}

/** What jobs print that do something as often or as fast as they can: scripts/bench.d/load/client_loop.h. */
export interface Spent {
  readonly count: number;
  readonly seconds: number;
  readonly cpuNs: number;
  readonly clientCpuNs: number;
  readonly tickets: number;
}

/** Microseconds. */
export interface Delay {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

function argumentsOf(options: JobOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/** Rejects with what it says when a connection failed or a byte was wrong. */
export async function runJob(job: 'latency', options: JobOptions, turn?: Turn): Promise<Delay>;
export async function runJob(
  job: 'handshakes' | 'requests' | 'down' | 'up',
  options: JobOptions,
  turn?: Turn,
): Promise<Spent>;
export async function runJob(job: string, options: JobOptions, turn: Turn = 'usual'): Promise<unknown> {
  const child = start([...program, job, ...argumentsOf(options)], turn);
  let output = '';
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const limit = setTimeout(() => child.kill('SIGKILL'), jobLimitMs);
  const [code, signal] = await once(child, 'close');
  clearTimeout(limit);
  if (code !== 0) throw new Error(`${job}: ${said.trim() || (code ?? signal)}`);
  return JSON.parse(output);
}

const jobLimitMs = 120_000;

/** In a session of its own, for `putFirst`. */
function start(command: readonly string[], turn: Turn = 'usual') {
  const [first = '', ...rest] = [...onCore(loadCore), ...withTurn(turn), ...command];
  const child = spawn(first, rest, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  putFirst(child.pid ?? 0);
  const kill = () => void child.kill('SIGKILL');
  process.on('exit', kill);
  child.on('exit', () => process.off('exit', kill));
  return child;
}

/** A program of the load that goes on: takes lines, gives lines. */
class Talk {
  readonly #child: ReturnType<typeof start>;
  readonly #lines: AsyncIterator<string>;
  #said = '';

  constructor(job: string, options?: JobOptions) {
    this.#child = start([...program, job, ...(options === undefined ? [] : argumentsOf(options))]);
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }
  get pid(): number {
    return this.#child.pid ?? 0;
  }
  /** The number that it answers with. Rejects when it has ended. */
  async number(order?: string): Promise<number> {
    if (order !== undefined) this.#child.stdin.write(`${order}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(this.#said.trim() || 'the load ended');
    return Number(value);
  }
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

export class Backend {
  readonly #talk = new Talk('backend');
  /** Settles with the port. */
  listen(): Promise<number> {
    return this.#talk.number();
  }
  setTurn(turn: 'first' | 'usual'): void {
    setTurn(this.#talk.pid, turn);
  }
  end(): Promise<void> {
    return this.#talk.end();
  }
}

export class IdleClients {
  readonly #talk: Talk;
  constructor(options: JobOptions) {
    this.#talk = new Talk('idle', options);
  }
  /** So many more, each with one answer. */
  open(count: number): Promise<number> {
    return this.#talk.number(`open ${count}`);
  }
  /** How many there are, all of which answer: a silent one ends this by the deadline. */
  ask(): Promise<number> {
    return this.#talk.number('ask');
  }
  end(): Promise<void> {
    return this.#talk.end();
  }
}
