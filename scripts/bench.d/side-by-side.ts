// SPDX-License-Identifier: MIT
// scripts/bench [JOB...]: what ironsocket and its peers cost, side by side in one run.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { Argument, Command, Option } from 'commander';
import type { Offload } from '../../src/config/config.ts';
import { count, engineOption, exitAtSignals, named, positive, writableFile } from '../command-line.ts';
import { type Contender, ironsocket, nginxWithKernel, peersOf } from './contenders.ts';
import { comeFirst, loadCore } from './cores.ts';
import { Backend, buildLoad, loadWithNewestLibraries } from './load-program.ts';
import { busyText, machine, watchNoise } from './machine.ts';
import { type Around, type Figures, type Job, jobs, rows } from './measures.ts';
import { profile } from './profile.ts';
import { installed, newest } from './programs.ts';
import { Samples, sideBySideText } from './side-by-side-table.ts';
import type { Served } from './subject.ts';

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly bulk: number;
  readonly idle: number;
  readonly engine: Offload;
  readonly logLevel: string;
  readonly peers: 'newest' | 'installed' | 'none';
  readonly first: boolean;
  readonly only?: string;
  readonly profile?: string;
  readonly json?: string;
}

const needs = `
scripts/bench upgrade [options] is about upgrades and reloads, with a help of its own.

Needs root and Debian: packages that are missing are installed; the peers are fetched from Debian's unstable suite into
build-native, or installed (--peers installed). All of it takes about 10 minutes on an idle machine. Exit code 1: something could
not be measured. docs/bench.md says what the rows are.`;
const command = new Command('scripts/bench')
  .description('Measures what connections, requests and bytes cost ironsocket and nginx, HAProxy, hitch and stunnel.')
  .addArgument(new Argument('[job...]', 'all but syscalls if left out').choices(jobs.map(({ name }) => name)))
  .option('--rounds <N>', 'of every job with every subject in turn', count, 5)
  .option('--seconds <S>', 'of a measurement of handshakes, requests or latency', positive, 2.5)
  .option('--bulk <MIB>', 'of all streams together', count, 2048)
  .option('--idle <N>', 'idle connections', count, 2000)
  .addOption(engineOption())
  .option('--log-level <LEVEL>', 'of ironsocket', 'info')
  .addOption(
    new Option('--peers <WHICH>', "Debian's newest packages, or those of this system")
      .choices(['newest', 'installed', 'none'])
      .default('newest'),
  )
  .option('--only <TEXT>', 'only subjects with this in their name')
  .option('--no-first', "don't come before the other programs of the machine, nor before each other")
  .option('--profile <FOLDER>', 'writes there where each spends its time in each job, which costs some')
  .option('--json <FILE>', 'writes the results as JSON, too', writableFile)
  .addHelpText('after', needs);
command.parse();
const options = command.opts<Options>();
const wantedJobs = jobs.filter(({ name, asked }) => (command.args.length === 0 ? !asked : command.args.includes(name)));

/** On stderr, where somebody looks. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Where the kernel carries the records, only nginx lets it. */
function peers(): readonly Contender[] {
  if (options.peers === 'none') return [];
  const programs = options.peers === 'newest' ? newest : installed;
  return options.engine === 'kernel' ? [nginxWithKernel(programs)] : peersOf(programs);
}

function contenders(): readonly Contender[] {
  return named(command, [ironsocket(options.engine, options.logLevel), ...peers()], options.only);
}

async function measure(job: Job, contender: Contender, served: Served): Promise<Figures> {
  const run = async () => (await job.measure?.(served, around)) ?? (await job.measureFresh?.(contender, around)) ?? {};
  if (options.profile === undefined || job.measure === undefined) return run();
  return profile(options.profile, `${job.name}-${contender.name.replaceAll(' ', '-')}`, served.pids(), run);
}

const subjects = contenders();
const here = machine();
process.stdout.write(busyText());
const at = new Date().toISOString();
exitAtSignals();
comeFirst(options.first);
progress('building');
buildLoad();
if (options.peers === 'newest') loadWithNewestLibraries();
// We measure, and are not to be measured.
execFileSync('taskset', ['-a', '-p', '-c', String(loadCore), String(process.pid)], { stdio: 'ignore' });
const noise = watchNoise();
const samples = new Samples();
const backend = new Backend();
const around: Around = {
  backend,
  backendPort: await backend.listen(),
  sizes: { seconds: options.seconds, bulkMiB: options.bulk, idle: options.idle },
};
const serving = new Map<Contender, Served>();
for (const contender of subjects) {
  progress(`starting ${contender.name}`);
  try {
    const served = await contender.start(around.backendPort);
    samples.addSubject(contender.name, served.version);
    serving.set(contender, served);
  } catch (error) {
    samples.addSubject(contender.name, '');
    samples.addFailure(contender.name, 'start', error);
  }
}
for (let round = 1; round <= options.rounds; round++) {
  for (const job of wantedJobs) {
    for (const [contender, served] of serving) {
      progress(`round ${round} of ${options.rounds}: ${job.name}, ${contender.name}`);
      try {
        samples.add(contender.name, await measure(job, contender, served));
      } catch (error) {
        samples.addFailure(contender.name, job.name, error);
      }
    }
  }
}
for (const served of serving.values()) await served.stop();
await backend.end();
progress('');

const wantedRows = rows.filter(({ job }) => wantedJobs.some(({ name }) => name === job));
const { loadAverage, steal } = noise();
console.log(`${at}, ${here.cores} x ${here.cpu}, ${here.memoryGiB} GiB, Linux ${here.kernel}, Node ${here.node}`);
console.log(
  `load average ${loadAverage.toFixed(1)}, ${(100 * steal).toFixed(1)} % of the CPU taken by others of the host\n`,
);
console.log(sideBySideText(samples, wantedRows));
if (options.json !== undefined) {
  const results = { at, machine: here, noise: { loadAverage, steal }, options, ...samples.results(wantedRows) };
  writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
}
process.exit(samples.failures.length === 0 ? 0 : 1);
