// SPDX-License-Identifier: MIT
// scripts/faults: all cases, n from 1 on, with progress and a table at the end.
import { Command } from 'commander';
import { count, exitAtSignals } from '../../scripts/command-line.ts';
import { type Engine, engines, isKernel, kernelRekeys } from '../helpers/engines.ts';
import { type Case, casesFor } from './cases.ts';
import { Scene } from './scene.ts';
import { caseName, type Swept, sweep } from './sweep.ts';

const parts = `
The name of a case is its moment, a process, a call and what fails of it: "traffic: worker: recv (network) ENOMEM". Moments are
traffic, slow, upgrade and reload, processes worker, master and keeper. Examples:
  scripts/faults 'traffic: worker: recv' --stride 20      a part of the traffic, with each 20th call
  scripts/faults 'upgrade: master'                        an upgrade, with each call of the master
A case takes a few seconds to some minutes, all of them hours. Exit code 1: something is wrong.`;
const command = new Command('scripts/faults')
  .description('Fails system calls of a busy proxy, one after the other, and looks who is hurt.')
  .argument('[part...]', 'only cases with one of these in their name, all if left out')
  .option('--most <N>', 'up to which call of a kind', count, 200)
  .option('--stride <N>', 'from one call that fails to the next', count, 1)
  .addHelpText('after', parts)
  .parse();
const { most, stride } = command.opts<{ readonly most: number; readonly stride: number }>();
const numbers = Array.from({ length: Math.ceil(most / stride) }, (_, i) => 1 + i * stride);
const progress = process.stderr.isTTY;

function wanted(engine: Engine): readonly Case[] {
  const isWanted = (name: string) => command.args.length === 0 || command.args.some((part) => name.includes(part));
  return casesFor(engine).filter((item) => isWanted(caseName(item)));
}

async function measure(engine: Engine): Promise<Swept[]> {
  const cases = wanted(engine);
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

if (engines.every((engine) => wanted(engine).length === 0)) {
  command.error(`error: no case has ${command.args.join(' or ')} in its name`);
}
exitAtSignals();
let wrong = 0;
for (const engine of engines) {
  console.log(`${`${engine.label}, n to ${most}`.padEnd(54)}   runs   hits refused   cut  wrong`);
  for (const { faults } of await measure(engine)) {
    wrong += faults.length;
  }
}
console.log(wrong === 0 ? 'nothing is wrong' : `${wrong} things are wrong`);
process.exit(wrong === 0 ? 0 : 1);
