// SPDX-License-Identifier: MIT
// Every kept input of the fuzz targets in TypeScript holds; those in C++ are replayed with sanitizers (scripts/native-steps.ts).
import { join } from 'node:path';
import { inputsOf, judge, nameOf } from '../fuzz/guided.ts';
import { targets } from '../fuzz/targets.ts';
import { test } from '../helpers/suite.ts';

for (const [name, { target }] of Object.entries(targets)) {
  const replay = async (): Promise<void> => {
    const inputs = inputsOf(join('test/fuzz/corpus', name));
    if (inputs.length === 0) throw new Error(`no input is kept for ${name}`);
    for (const input of inputs) {
      try {
        await judge(target, input);
      } catch (error) {
        throw new Error(`${nameOf(input)}: ${(error as Error).message}`, { cause: error });
      }
    }
  };
  test(`the kept inputs of ${name}`, replay, { deadline: 120_000 });
}
