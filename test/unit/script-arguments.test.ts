// SPDX-License-Identifier: MIT
// Faults in the arguments of the scripts, which they find before they start anything, and their help.
import { spawnSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import { header, line } from '../../scripts/fuzz.d/result.ts';
import { test } from '../helpers/suite.ts';

const bench = 'scripts/bench.d/side-by-side.ts';
const upgrade = 'scripts/bench.d/upgrade.ts';
const soak = 'scripts/soak.d/soak.ts';
const faults: readonly (readonly [string, readonly string[], RegExp])[] = [
  [bench, ['--only', 'foo'], /no subject has foo in its name: ironsocket; nginx/],
  [bench, ['--seconds', '0'], /more than 0/],
  [upgrade, ['--only', 'foo'], /no subject has foo in its name: ironsocket upgrade; /],
  [upgrade, ['--json', '/none/here'], /can't be written: ENOENT/],
  [soak, ['--html', '/none/here'], /can't be written: ENOENT/],
  [soak, ['--minutes', '0'], /more than 0/],
  [soak, ['--files', '10'], /--files needs \d+ at least/],
  ['scripts/memcheck.ts', ['x'], /no whole number/],
  ['test/faults/main.ts', ['nosuchpart'], /no case has nosuchpart in its name/],
];

for (const [script, args, sentence] of faults) {
  test(`${script} ${args.join(' ')}: ${sentence.source}`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
    assert.is(status, 1);
    assert.is(stdout, '');
    assert.match(stderr, /^error: [^\n]*\n$/m);
    assert.match(stderr, sentence);
  });
}

for (const script of ['test', 'kernel-lab', 'try-systemd']) {
  test(`scripts/${script} --help`, () => {
    const { status, stdout, stderr } = spawnSync(`scripts/${script}`, ['--help'], { encoding: 'utf8' });
    assert.equal({ status, stderr }, { status: 0, stderr: '' });
    assert.match(stdout, `scripts/${script} `);
    assert.not.match(stdout, 'set -');
  });
}

test('a row of scripts/fuzz tells the inputs kept before from the new ones', () => {
  const result = { name: 'config', executions: 200, seconds: 2, coverage: 30, kept: 41, added: 5 };
  assert.match(header(['config']), /coverage +kept before +new +findings$/);
  assert.match(line(result, ['config']), /^config +200 +100 +30 +41 +5 +none$/);
});
