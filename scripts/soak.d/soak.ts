// SPDX-License-Identifier: MIT
// scripts/soak: options, progress, verdict.
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import type { Offload } from '../../src/config/config.ts';
import { machine, noiseText, watchNoise } from '../bench.d/machine.ts';
import { counted, engineOption, exitAtSignals, positive, wholeNumber, writableFile } from '../command-line.ts';
import { pageOf } from './page.ts';
import { fewestFiles, Soak } from './run.ts';
import type { Glance } from './service.ts';
import { verdictText } from './table.ts';
import { verdictOf } from './verdict.ts';

interface Options {
  readonly minutes: number;
  readonly cycle: number;
  readonly files: number;
  readonly idle: number;
  readonly visitors: number;
  readonly guests: number;
  readonly pause: number;
  readonly seed: number;
  readonly engine: Offload;
  readonly upgradeEvery: number;
  readonly killEvery: number;
  readonly killMasterEvery: number;
  readonly html?: string;
  readonly json?: string;
}

const needs = `
Needs root. Everything is on the loopback, and whatever was started is ended. Exit code 0: all is flat and nothing was lost; 1: it
is not so. docs/soak.md says what happens and what has to be true.`;
const command = new Command('scripts/soak')
  .description(
    'Runs ironsocket under mixed traffic at its limit of open files, upgrades it and kills its processes meanwhile.',
  )
  .option('--minutes <N>', 'how long', positive, 30)
  .option('--cycle <SECONDS>', 'of a cycle: to the limit of open files, an upgrade, and back', positive, 60)
  .option('--files <N>', 'limit of open files of a worker', wholeNumber, 8192)
  .option('--idle <N>', 'idle sessions that stay', wholeNumber, 300)
  .option('--visitors <N>', 'at a time, each of whom comes again and again', wholeNumber, 16)
  .option('--guests <N>', 'at a time, who stay for a minute or so', wholeNumber, 32)
  .option('--pause <MS>', 'most time between two visits of a visitor', wholeNumber, 250)
  .option('--seed <N>', 'of what the visitors do', wholeNumber, 1)
  .option('--upgrade-every <N>', 'cycles; 0: never', wholeNumber, 1)
  .option('--kill-every <N>', 'cycles in which a worker is killed; 0: never', wholeNumber, 5)
  .option('--kill-master-every <N>', 'cycles in which a master is killed; 0: never', wholeNumber, 5)
  .addOption(engineOption())
  .option('--html <FILE>', 'writes a page with pictures', writableFile)
  .option('--json <FILE>', 'writes all that was seen as JSON', writableFile)
  .addHelpText('after', needs);
const options = command.parse().opts<Options>();
const fewest = fewestFiles(options);
if (options.files < fewest) command.error(`error: --files needs ${fewest} at least, for those who are always there`);

const progressEveryMs = 10_000;
const here = machine();
const at = new Date().toISOString();
const noise = watchNoise();
console.log(`${at}, ${here.cores} x ${here.cpu}, ${here.memoryGiB} GiB, Linux ${here.kernel}, Node ${here.node}`);
const cycles = Math.max(1, Math.round((options.minutes * 60) / options.cycle));
console.log(`${counted(cycles, 'cycle')} of ${options.cycle} s, ${options.files} open files`);

const soak = new Soak({ ...options, cycles, cycleMs: options.cycle * 1000, pauseMs: options.pause }, (text) =>
  say(text),
);
const { history } = soak;
const clock = () => `${Math.floor(history.now() / 60)}:${String(Math.floor(history.now() % 60)).padStart(2, '0')}`;
const say = (text: string) => console.log(`${process.stdout.isTTY ? '\r\x1b[K' : ''}${clock().padStart(5)}  ${text}`);

const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
function words({ memory, files, sessions, connections, processes, pauses }: Glance): string {
  const load = `${String(sessions).padStart(5)} sessions, ${String(connections).padStart(5)} connections`;
  const costs = `keeper ${mib(memory.keeper)}, master ${mib(memory.master)}, worker ${mib(memory.worker)} MiB`;
  return `${load}, ${String(files.worker).padStart(5)} files, ${processes} processes, ${costs}, ${pauses} pauses, ${history.faults.length} faults`;
}
const progress = setInterval(() => {
  const last = history.glances.at(-1);
  if (last !== undefined) say(words(last));
}, progressEveryMs);
// A terminal has the state of now in its last line.
const live = setInterval(() => {
  const last = history.glances.at(-1);
  if (process.stdout.isTTY && last !== undefined)
    process.stdout.write(`\r\x1b[K${clock().padStart(5)}  ${words(last)}`);
}, 1_000);

exitAtSignals();
try {
  await soak.run();
} catch (error) {
  history.fault('the soak', error instanceof Error ? (error.stack ?? error.message) : String(error));
}
clearInterval(progress);
clearInterval(live);
await soak.end();

const verdict = verdictOf(history);
const busy = noise();
console.log(`\n${verdictText(history, verdict)}`);
console.log(`machine: ${noiseText(busy)}`);
if (options.html !== undefined)
  writeFileSync(options.html, pageOf(history, verdict, `${at}, ${here.cpu}, Linux ${here.kernel}`, busy));
if (options.json !== undefined) {
  const all = { at, machine: here, options, noise: busy, verdict, history };
  writeFileSync(options.json, `${JSON.stringify(all, null, 1)}\n`);
}
process.exit(verdict.right ? 0 : 1);
