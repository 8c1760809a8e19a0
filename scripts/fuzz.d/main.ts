// SPDX-License-Identifier: MIT
// Fuzzes the named targets, or all, from their kept corpora. Prints a row for each as it is done, and then where the input of each
// finding lies and how to run it again. Exits with 1 when there is one.
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Argument, Command } from 'commander';
import { count, counted, provide } from '../command-line.ts';
import { build, compilers, fuzzNative, mergeNative, nativeTargets } from './native.ts';
import { explain, type FuzzResult, header, line } from './result.ts';
import { fuzzTypescript, mergeTypescript, typescriptTargets } from './typescript.ts';

/** Corpora that grow from run to run, and inputs of findings. */
const workDirectory = 'build-native/fuzz-work';

const native = nativeTargets();
const all = [...native, ...typescriptTargets()];
const costs = `
Without --no-merge new inputs are written into test/fuzz/corpus. Targets in C++ need clang, cmake and libssl-dev, which are
installed where they are missing (root), and are built first, which takes some minutes the first time. Exit code 1: something was
found. docs/testing.md says what the targets are.`;
const command = new Command('scripts/fuzz')
  .description('Looks for inputs that break what reads them, and keeps those that reach code which no kept one does.')
  .addArgument(new Argument('[target...]', 'all if left out').choices(all))
  .option('--seconds <S>', 'of the processor, for each target', count, 60)
  .option('--jobs <N>', 'targets at a time', count, availableParallelism())
  .option('--no-merge', 'keep no input that reaches more than the kept ones do')
  .addHelpText('after', costs)
  .parse();
const { seconds, jobs, merge } = command.opts<{ seconds: number; jobs: number; merge: boolean }>();
const names = command.args.length > 0 ? command.args : all;

mkdirSync(workDirectory, { recursive: true });
const compiled = names.filter((name) => native.includes(name));
if (compiled.length > 0) {
  provide(command, [...(compilers().length === 0 ? ['clang'] : []), 'cmake', 'libssl-dev']);
  console.log(`building ${counted(compiled.length, 'target')}`);
  build(compiled, jobs);
}
console.log(
  `${counted(names.length, 'target')}, ${seconds} s of the processor each, ${jobs} at a time\n\n${header(names)}`,
);

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
  if (result.finding !== undefined || !merge) return result;
  const added = await (compiledOne ? mergeNative : mergeTypescript)(name, grown);
  return { ...result, added };
}
