// SPDX-License-Identifier: MIT
// scripts/bench upgrade: what upgrades and reloads do to sessions that are open, for ironsocket and for its peers side by side.
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import type { Offload } from '../../src/config/config.ts';
import { count, engineOption, exitAtSignals, named, wholeNumber, writableFile } from '../command-line.ts';
import { framesText, measureFrames } from './frames.ts';
import { ironsocket } from './ironsocket.ts';
import { busyText, machine } from './machine.ts';
import { measureRounds, type Result } from './measure-rounds.ts';
import { peers } from './peers.ts';
import { upgradeText } from './upgrade-table.ts';

interface Options {
  readonly idle: number;
  readonly streaming: number;
  readonly rounds: number;
  readonly arrivals: number;
  readonly processes: number;
  readonly size: number;
  readonly interval: number;
  readonly quiet: number;
  readonly visit: number;
  readonly round: number;
  readonly engine: Offload;
  readonly peers: boolean;
  readonly frames: boolean;
  readonly only?: string;
  readonly json?: string;
}

const needs = `
Needs root and Debian: packages that are missing, the peers among them, are installed. It takes about 12 minutes on an idle machine.
Exit code 1: something could not be measured. docs/bench.md says what the rows are.`;
const command = new Command('scripts/bench upgrade')
  .description(
    'Measures what upgrades of ironsocket, and reloads and upgrades of nginx, HAProxy, hitch and stunnel, do to open sessions.',
  )
  .option('--idle <N>', 'idle sessions', wholeNumber, 1000)
  .option('--streaming <N>', 'streaming sessions', wholeNumber, 200)
  .option('--rounds <N>', 'upgrades or reloads in a row', count, 20)
  .option('--arrivals <N>', 'idle sessions that come after each round, to stay', wholeNumber, 10)
  .option('--processes <N>', 'processes of clients', count, 2)
  .option('--size <BYTES>', 'of a message of a stream', wholeNumber, 1024)
  .option('--interval <MS>', 'between two messages of a stream, each way', wholeNumber, 20)
  .option('--quiet <MS>', 'before each round', wholeNumber, 1000)
  .option('--visit <MS>', 'between two new connections that ask and leave', wholeNumber, 20)
  .option('--round <MS>', 'how long a round of a peer takes', wholeNumber, 1500)
  .addOption(engineOption())
  .option('--only <TEXT>', 'only subjects with this in their name')
  .option('--no-peers', 'ironsocket alone')
  .option('--no-frames', 'not the speed of the frames that sessions travel in, for which native tests are built')
  .option('--json <FILE>', 'writes the results as JSON, too', writableFile)
  .addHelpText('after', needs);
const options = command.parse().opts<Options>();

const here = machine();
// Its one CPU is slow, and its programs are the host's: they are measured there.
const inLab = here.cpu === 'UML';
const subjects = [ironsocket(options.engine), ...(options.peers && !inLab ? peers : [])];
const wanted = named(command, subjects, options.only);
const at = new Date().toISOString();
console.log(`${at}, ${here.cores} x ${here.cpu}, ${here.memoryGiB} GiB, Linux ${here.kernel}, Node ${here.node}`);
process.stdout.write(busyText());
exitAtSignals();
const results: Result[] = [];
const failures: { readonly name: string; readonly error: string }[] = [];
for (const subject of wanted) {
  try {
    const result = await measureRounds(subject, {
      ...options,
      direct: Math.max(2, Math.round(options.streaming / 10)),
      intervalMs: options.interval,
      quietMs: options.quiet,
      roundMs: options.round,
      visitMs: options.visit,
    });
    results.push(result);
    console.log(`\n${upgradeText(result).trimEnd()}`);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    failures.push({ name: subject.name, error: text });
    console.log(`\n${subject.name}\n  could not be measured: ${text}`);
  }
}
const frames = options.frames && !inLab && options.only === undefined ? measureFrames() : undefined;
if (frames !== undefined) console.log(`\n${framesText(frames)}`);
if (options.json !== undefined) {
  writeFileSync(
    options.json,
    `${JSON.stringify({ at, machine: here, options, results, frames, failures }, null, 2)}\n`,
  );
}
process.exit(failures.length === 0 ? 0 : 1);
