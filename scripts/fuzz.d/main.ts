// SPDX-License-Identifier: MIT
// Fuzzes the named targets, or all, from their kept corpora. Prints a row for each as it is done, and then where the input of each
// finding lies and how to run it again. Exits with 1 when there is one.
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, fuzzNative, mergeNative, nativeTargets } from './native.ts';
import { explain, type FuzzResult, header, line } from './result.ts';
import { fuzzTypescript, mergeTypescript, typescriptTargets } from './typescript.ts';

/** Corpora that grow from run to run, and inputs of findings. */
const workDirectory = 'build-native/fuzz-work';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** Of the processor, for each target. */
    seconds: { type: 'string', default: '60' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    'no-merge': { type: 'boolean', default: false },
  },
});
const [seconds, jobs] = [Number(values.seconds), Number(values.jobs)];
if (!(seconds > 0) || !(jobs >= 1)) throw new Error('--seconds and --jobs take a number above 0');
const native = nativeTargets();
const all = [...native, ...typescriptTargets()];
const unknown = positionals.filter((name) => !all.includes(name));
if (unknown.length > 0) throw new Error(`no target is called ${unknown.join(', ')}; there are ${all.join(', ')}`);
const names = positionals.length > 0 ? positionals : all;

mkdirSync(workDirectory, { recursive: true });
const compiled = names.filter((name) => native.includes(name));
if (compiled.length > 0) {
  console.log(`building ${compiled.length} targets`);
  build(compiled, jobs);
}
console.log(`${names.length} targets, ${seconds} s of the processor each, ${jobs} at a time\n\n${header(names)}`);

const waiting = [...names];
const results: FuzzResult[] = [];
await Promise.all(Array.from({ length: Math.min(jobs, names.length) }, work));
const found = results.filter(({ finding }) => finding !== undefined);
for (const result of found) console.log(explain(result));
console.log(`\n${results.length - found.length} passed, ${found.length} failed`);
process.exitCode = found.length > 0 ? 1 : 0;

async function work(): Promise<void> {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const result = await one(name);
    results.push(result);
    console.log(line(result, names));
  }
}

async function one(name: string): Promise<FuzzResult> {
  const grown = join(workDirectory, name);
  const compiledOne = native.includes(name);
  const result = await (compiledOne ? fuzzNative : fuzzTypescript)(name, grown, seconds);
  if (result.finding !== undefined || values['no-merge']) return result;
  const added = await (compiledOne ? mergeNative : mergeTypescript)(name, grown);
  return { ...result, added, kept: result.kept + added };
}
