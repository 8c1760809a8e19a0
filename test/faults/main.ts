// SPDX-License-Identifier: MIT
// scripts/faults: all cases, n from 1 on, with progress and a table at the end.
import { parseArgs } from 'node:util';
import { type Engine, engines, isKernel, kernelRekeys } from '../helpers/engines.ts';
import { casesFor } from './cases.ts';
import { Scene } from './scene.ts';
import { caseName, type Swept, sweep } from './sweep.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { most: { type: 'string', default: '200' }, stride: { type: 'string', default: '1' } },
});
const [most, stride] = [Number(values.most), Number(values.stride)];
const numbers = Array.from({ length: Math.ceil(most / stride) }, (_, i) => 1 + i * stride);
const progress = process.stderr.isTTY;

async function measure(engine: Engine): Promise<Swept[]> {
  const cases = casesFor(engine).filter(
    (item) => positionals.length === 0 || positionals.some((part) => caseName(item).includes(part)),
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

let wrong = 0;
for (const engine of engines) {
  console.log(`${`${engine.label}, n to ${most}`.padEnd(54)}   runs   hits refused   cut  wrong`);
  for (const { faults } of await measure(engine)) wrong += faults.length;
}
console.log(wrong === 0 ? 'nothing is wrong' : `${wrong} things are wrong`);
process.exit(wrong === 0 ? 0 : 1);
