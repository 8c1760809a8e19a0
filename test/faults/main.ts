// SPDX-License-Identifier: MIT
// scripts/faults: all cases, n from 1 on, with progress and a table at the end.
import { Command } from 'commander';
import { count, exitAtSignals } from '../../scripts/command-line.ts';
import { type Engine, engines, isKernel, kernelRekeys } from '../helpers/engines.ts';
import { casesFor } from './cases.ts';
import { Scene } from './scene.ts';
import { caseName, type Swept, sweep } from './sweep.ts';

const command = new Command('scripts/faults')
  .argument('[part...]', 'only cases with one of these in their name')
  .option('--most <N>', 'up to which call of a kind', count, 200)
  .option('--stride <N>', 'from one call that fails to the next', count, 1)
  .parse();
const { most, stride } = command.opts<{ readonly most: number; readonly stride: number }>();
const numbers = Array.from({ length: Math.ceil(most / stride) }, (_, i) => 1 + i * stride);
const progress = process.stderr.isTTY;

async function measure(engine: Engine): Promise<Swept[]> {
  const cases = casesFor(engine).filter(
    (item) => command.args.length === 0 || command.args.some((part) => caseName(item).includes(part)),
  );
  const scene = await Scene.open(engine, !isKernel(engine) || kernelRekeys);
  const memory = scene.memoryBytes;
  const all: Swept[] = [];
  for (const item of cases) {
    if (progress) process.stderr.write(`\r\x1b[K${all.length} of ${cases.length}: ${engine.label}, ${caseName(item)}`);
    const started = performance.now();
    const swept = await sweep(scene, item, numbers);
    all.push(swept);
    if (progress) process.stderr.write('\r\x1b[K');
    console.log(row(swept, (performance.now() - started) / 1000));
    for (const fault of swept.faults) console.log(`    ${fault}`);
  }
  const grown = (scene.memoryBytes - memory) / 2 ** 20;
  console.log(`worker: ${(memory / 2 ** 20).toFixed(1)} MiB at first, ${grown.toFixed(1)} MiB more in the end`);
  await scene.close();
  return all;
}

function row({ name, runs, hits, refused, cut, faults }: Swept, seconds: number): string {
  const numbers = [runs, hits, refused, cut, faults.length].map((value) => String(value).padStart(7)).join('');
  return `${name.padEnd(54)}${numbers}${seconds.toFixed(0).padStart(6)} s`;
}

exitAtSignals();
let swept = 0;
let wrong = 0;
for (const engine of engines) {
  console.log(`${`${engine.label}, n to ${most}`.padEnd(54)}   runs   hits refused   cut  wrong`);
  for (const { faults } of await measure(engine)) {
    swept++;
    wrong += faults.length;
  }
}
if (swept === 0) command.error(`no case has ${command.args.join(' or ')} in its name`);
console.log(wrong === 0 ? 'nothing is wrong' : `${wrong} things are wrong`);
process.exit(wrong === 0 ? 0 : 1);
