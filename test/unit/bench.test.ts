// SPDX-License-Identifier: MIT
// scripts/bench: its arithmetic, and that a small run of it tells what there is to tell.
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import * as assert from 'uvu/assert';
import { Delays, histogramQuantile, pausesOf, quantile } from '../../scripts/bench.d/delays.ts';
import { buildLoad, runJob } from '../../scripts/bench.d/load-program.ts';
import { busyText } from '../../scripts/bench.d/machine.ts';
import type { Result } from '../../scripts/bench.d/measure-rounds.ts';
import { jobs, type Row, rows } from '../../scripts/bench.d/measures.ts';
import { type Comparison, Samples, sideBySideText } from '../../scripts/bench.d/side-by-side-table.ts';
import { parseCalls } from '../../scripts/bench.d/system-calls.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { test } from '../helpers/suite.ts';

const row: Row = { key: 'down', text: 'CPU, GiB to clients', unit: 's', job: 'down', ratioGoal: 0.8 };

function samplesOf(figures: Readonly<Record<string, readonly number[]>>): Samples {
  const samples = new Samples();
  for (const [name, all] of Object.entries(figures)) {
    samples.addSubject(name, '1:2.3-4');
    for (const down of all) samples.add(name, { down });
  }
  return samples;
}

test('a quantile is the smallest value that so many do not exceed', () => {
  const values = Array.from({ length: 200 }, (_, i) => 200 - i);
  assert.is(quantile(values, 0.5), 100);
  assert.is(quantile(values, 0.99), 198);
  assert.is(quantile(values, 1), 200);
  assert.is(quantile([], 0.5), 0);
});

test('a histogram tells its quantiles by the upper end of a bucket', () => {
  const delays = new Delays();
  for (let us = 1; us < 1000; us++) delays.add(1, 0, us);
  delays.add(1, 0, 10_000_000);
  const { histogram } = delays.take();
  assert.is(histogramQuantile([histogram], 0.5), 510);
  assert.is(histogramQuantile([histogram], 1), 100_000);
  assert.is(histogramQuantile([histogram, delays.take().histogram], 0.99), 1000);
  assert.is(histogramQuantile([], 0.5), 0);
});

test('a pause is what the slowest message on its way in the window took beyond the usual', () => {
  const delays = new Delays();
  delays.add(1, 0, 999); // as fast as ever
  delays.add(1, 5_000, 4_000); // before the window
  delays.add(1, 8_000, 3_000); // into it
  delays.add(1, 15_000, 7_000); // out of it
  delays.add(2, 20_000, 90_000); // behind it
  delays.add(3, 0, 50_000); // all over it
  delays.add(9, 12_000, 50_000); // none of ours
  const { slow } = delays.take();
  assert.equal(pausesOf(slow, [1, 2, 3, 4], { fromUs: 10_000, toUs: 20_000 }, 500), [6_500, 0, 49_500, 0]);
  assert.equal(delays.take().slow, []);
});

test(
  'a small run of scripts/bench upgrade loses nothing and says how long it took',
  ({ after }) => {
    const directory = mkdtempSync(join(tmpdir(), 'ironsocket-bench-test-'));
    after(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'results.json');
    const load = ['--idle', '20', '--streaming', '4', '--arrivals', '2', '--rounds', '2', '--quiet', '200'];
    const text = execFileSync(
      process.execPath,
      ['scripts/bench.d/upgrade.ts', ...load, '--processes', '1', '--no-peers', '--no-frames', '--json', file],
      { encoding: 'utf8' },
    );
    const [result] = (JSON.parse(readFileSync(file, 'utf8')) as { results: Result[] }).results;
    if (result === undefined) throw new Error(text);
    assert.is(result.replaced, 2);
    const { opened, cut, answering, inOldProcesses } = result.sessions;
    assert.equal({ opened, cut, answering, inOldProcesses }, { opened: 28, cut: 0, answering: 24, inOldProcesses: 0 });
    assert.is(result.streams.wrong, 0);
    assert.ok(result.streams.bytes > 0);
    assert.ok(result.visits.answered > 0);
    assert.is(result.visits.refused + result.visits.reset, 0);
    assert.is(result.ended.files, result.empty.files);
    assert.ok(result.phases.some(({ name }) => name === 'handing-off'));
    assert.match(text, 'kept, 0 lost');
  },
  { deadline: 40_000, skip: process.geteuid?.() === 0 ? undefined : 'needs root' },
);

test('subjects are compared by their medians, ours with the best of the others', () => {
  const { figures, best, reached } = samplesOf({ ironsocket: [0.9, 0.5, 0.7], nginx: [2, 9, 1], hitch: [3] }).compare(
    row,
  );
  assert.equal(figures.nginx, { median: 2, least: 1, most: 9, all: [2, 9, 1] });
  assert.equal(best, { peer: 'nginx', value: 2, ratio: 0.35 });
  assert.is(reached, true);
  assert.is(samplesOf({ ironsocket: [1], nginx: [1] }).compare(row).reached, false);
});

test('no goal is reached without a figure of ours or of a peer, and an aside has no best', () => {
  assert.is(samplesOf({ ironsocket: [1] }).compare(row).reached, undefined);
  assert.is(samplesOf({ ironsocket: [], nginx: [1] }).compare(row).reached, undefined);
  const { best, goal } = samplesOf({ ironsocket: [1], nginx: [2] }).compare({ ...row, aside: true });
  assert.equal({ best, goal }, { best: undefined, goal: undefined });
  const idle = { ...row, ratioGoal: undefined, goal: 1 } as unknown as Row;
  assert.is(samplesOf({ ironsocket: [1] }).compare(idle).reached, false);
  assert.is(samplesOf({ ironsocket: [0.9] }).compare(idle).reached, true);
});

test('the table says who is best, what was missed and what could not be measured', () => {
  const samples = samplesOf({ ironsocket: [1, 1.2], nginx: [1.25], hitch: [] });
  samples.addFailure('hitch', 'down', new Error('a byte of a stream was wrong'));
  const text = sideBySideText(samples, [row]);
  assert.match(text, /^CPU, GiB to clients, s +1\.00 ±10% +1\.25 +- +nginx +0\.80 +<= 0\.8 reached$/m);
  assert.match(text, /^ +2\.3 +2\.3 +2\.3$/m);
  assert.match(text, 'hitch could not be measured: down: a byte of a stream was wrong');
});

test('a busy machine is warned of', () => {
  assert.is(busyText(1), '');
  assert.match(busyText(4.56), 'load average 4.6 before the start');
});

test('system calls are read from what perf or strace says', () => {
  assert.is(parseCalls('144,,raw_syscalls:sys_enter,1197426,100.00,,\n'), 144);
  const strace = [
    '  0.00    0.000000           0         1         1 rseq',
    '------ ----------- ----------- --------- --------- ----------------',
  ];
  assert.is(parseCalls([...strace, '100.00    0.000018           0       150        18 total', ''].join('\n')), 150);
  assert.is(parseCalls('100.00    1.250000          12    100150           total\n'), 100_150);
  assert.throws(() => parseCalls('strace: Process 1 detached\n'), 'no count');
});

test(
  'clients of the load refuse a stream with a wrong byte, one that is cut and one that is too long',
  async ({ after }) => {
    buildLoad();
    const answers = { wrong: Buffer.alloc(100), cut: right(99), long: right(101), right: right(100) };
    const server = tls.createServer({ cert: readFileSync(ecdsa.cert), key: readFileSync(ecdsa.key) }, (socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(answer));
    });
    let answer = answers.right;
    server.listen(0, '127.0.0.1');
    after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const failure = () => runJob('down', { port, bytes: 100 }).then(String, ({ message }: Error) => message);
    assert.is((await runJob('down', { port, bytes: 100 })).count, 100);
    answer = answers.wrong;
    assert.is(await failure(), 'down: a byte of a stream was wrong');
    answer = answers.cut;
    assert.is(await failure(), 'down: a stream ended before its last byte');
    answer = answers.long;
    assert.is(await failure(), 'down: a stream is too long');
  },
  { deadline: 60_000 },
);

/** The start of the pattern of scripts/bench.d/load/protocol.h. */
function right(size: number): Buffer {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  };
  return Buffer.from(Array.from({ length: size }, next));
}

test(
  'a small run of scripts/bench has a figure for every row',
  ({ after }) => {
    const directory = mkdtempSync(join(tmpdir(), 'ironsocket-bench-test-'));
    after(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'results.json');
    const sizes = ['--rounds', '1', '--seconds', '0.3', '--bulk', '16', '--idle', '50'];
    const { status, stdout: text } = spawnSync(
      process.execPath,
      ['scripts/bench.d/side-by-side.ts', ...sizes, '--peers', 'none', '--no-first', '--json', file],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
    );
    assert.is(status, 0, text);
    const results = JSON.parse(readFileSync(file, 'utf8')) as { rows: Comparison[]; failures: unknown[] };
    assert.equal(results.failures, []);
    const asked = jobs.filter((job) => job.asked).map(({ name }) => name);
    const wanted = rows.filter(({ key, job }) => !asked.includes(job) && !key.startsWith('kernel'));
    const without = wanted.filter(({ key }) => {
      const figure = results.rows.find((each) => each.key === key)?.figures.ironsocket;
      // What 50 idle connections take may be less than what the process gives back meanwhile.
      return figure === undefined || !(figure.median > 0 || key === 'idle');
    });
    assert.equal(
      without.map(({ key }) => key),
      [],
      text,
    );
  },
  { deadline: 60_000, skip: process.geteuid?.() === 0 ? undefined : 'needs root' },
);
