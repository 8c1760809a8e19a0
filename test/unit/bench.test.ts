// SPDX-License-Identifier: MIT
// scripts/bench: its arithmetic, and that a small run of it tells what there is to tell.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { Delays, histogramQuantile, pausesOf, quantile } from '../../scripts/bench.d/delays.ts';
import type { Result } from '../../scripts/bench.d/measure-rounds.ts';
import { test } from '../helpers/suite.ts';

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
