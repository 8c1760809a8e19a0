// SPDX-License-Identifier: MIT
// A mutation fuzzer for what is written in TypeScript: inputs that reach code no other has reached, or reach it in other counts, are
// kept and changed further. V8 counts (node:inspector), so nothing has to be rewritten for it.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector';
import { join } from 'node:path';

/** One input. Throws, or rejects, where something does not hold. */
export type Target = (input: Buffer) => void | Promise<void>;

export interface Guidance {
  /** Texts that inputs of this kind are made of. */
  readonly words: readonly string[];
  /** What of the loaded code counts, by URL. */
  readonly counts: (url: string) => boolean;
}

/** No input may take longer: whoever sends it would stop the process for so long. */
const slowMs = 1_000;
const longestInput = 16 * 1024;

export interface Found {
  readonly input: Buffer;
  readonly error: Error;
}

/** Runs one input, with a limit of time. */
export async function judge(target: Target, input: Buffer): Promise<void> {
  const began = process.cpuUsage();
  await target(input);
  const { user, system } = process.cpuUsage(began);
  const ms = (user + system) / 1000;
  if (ms > slowMs) throw new Error(`it takes ${Math.round(ms)} ms of the processor`);
}

/** Numbers of the counted places that were reached since the last call, each with how often: 1, 2, 3, 4 to 7, and so on. */
class Coverage {
  readonly #session = new Session();
  readonly #counts: Guidance['counts'];
  readonly #seen = new Set<string>();
  readonly #places = new Set<string>();

  constructor(counts: Guidance['counts']) {
    this.#counts = counts;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  get places(): number {
    return this.#places.size;
  }

  get features(): number {
    return this.#seen.size;
  }

  /** What has been reached since the last call: new places, or known ones so often as never before, or nothing new. */
  take(): 'places' | 'counts' | 'nothing' {
    const [places, seen] = [this.#places.size, this.#seen.size];
    this.#session.post('Profiler.takePreciseCoverage', (error, report) => {
      if (error !== null) throw error;
      for (const script of report.result) if (this.#counts(script.url)) this.#add(script);
    });
    if (this.#places.size > places) return 'places';
    return this.#seen.size > seen ? 'counts' : 'nothing';
  }

  #add({ scriptId, functions }: Profiler.ScriptCoverage): void {
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges) {
        if (count === 0) continue;
        const place = `${scriptId}:${startOffset}:${endOffset}`;
        this.#places.add(place);
        this.#seen.add(`${place}:${Math.min(8, 32 - Math.clz32(count))}`);
      }
    }
  }
}

export interface Progress {
  readonly executions: number;
  readonly places: number;
  readonly features: number;
  readonly corpus: number;
}

/** Until so many seconds of the processor are used, or something is found. `corpus` is a directory that grows. */
export async function fuzz(
  target: Target,
  { words, counts }: Guidance,
  corpus: string,
  seeds: readonly Buffer[],
  cpuSeconds: number,
  onProgress: (progress: Progress) => void,
): Promise<Found | undefined> {
  mkdirSync(corpus, { recursive: true });
  const coverage = new Coverage(counts);
  const inputs: Buffer[] = [];
  let executions = 0;
  const attempt = async (input: Buffer): Promise<Found | undefined> => {
    executions += 1;
    try {
      await judge(target, input);
    } catch (error) {
      return { input, error: error as Error };
    }
    if (coverage.take() !== 'nothing') {
      inputs.push(input);
      writeFileSync(join(corpus, nameOf(input)), input);
    }
    return undefined;
  };
  const spent = () => process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6;
  const told = () => ({ executions, places: coverage.places, features: coverage.features, corpus: inputs.length });
  for (const seed of [Buffer.alloc(0), ...seeds]) {
    const found = await attempt(seed);
    if (found !== undefined) return found;
  }
  for (let last = spent(); spent() < cpuSeconds; ) {
    const found = await attempt(changed(inputs, words));
    if (found !== undefined) return found;
    if (spent() - last > 5) {
      last = spent();
      onProgress(told());
    }
  }
  onProgress(told());
  return undefined;
}

/** Of `grown` those that reach what nothing in `kept` does, the shortest first. For a process of its own. */
export async function worthKeeping(
  target: Target,
  { counts }: Guidance,
  kept: readonly Buffer[],
  grown: readonly Buffer[],
): Promise<Buffer[]> {
  const coverage = new Coverage(counts);
  for (const input of kept) await judge(target, input);
  coverage.take();
  const worth: Buffer[] = [];
  for (const input of grown.toSorted((a, b) => a.length - b.length)) {
    await judge(target, input);
    if (coverage.take() === 'places') worth.push(input);
  }
  return worth;
}

export function nameOf(input: Buffer): string {
  return createHash('sha1').update(input).digest('hex');
}

export function inputsOf(directory: string): Buffer[] {
  return readdirSync(directory)
    .sort()
    .map((name) => readFileSync(join(directory, name)));
}

function random(limit: number): number {
  return Math.floor(Math.random() * limit);
}

function changed(inputs: readonly Buffer[], words: readonly string[]): Buffer {
  const pick = (): Buffer => inputs[random(inputs.length)] ?? Buffer.alloc(0);
  let input = pick();
  for (let change = random(5) + 1; change > 0; change--) {
    const at = random(input.length + 1);
    const [front, rest] = [input.subarray(0, at), input.subarray(at)];
    const other = pick();
    const kind = random(6);
    const word = Buffer.from(words[random(words.length)] ?? '');
    const start = random(other.length + 1);
    if (kind === 0) input = Buffer.concat([front, rest.subarray(random(Math.min(rest.length, 32) + 1))]);
    else if (kind === 1) input = Buffer.concat([front, word, rest]);
    else if (kind === 2) input = Buffer.concat([front, word, rest.subarray(random(Math.min(rest.length, 16) + 1))]);
    else if (kind === 3) input = Buffer.concat([front, other.subarray(start, start + random(200)), rest]);
    else if (kind === 4) input = Buffer.concat([front, Buffer.from([random(256)]), rest.subarray(1)]);
    else input = Buffer.concat([front, front.subarray(-random(64) - 1), rest]);
  }
  return input.subarray(0, longestInput);
}
