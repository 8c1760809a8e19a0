// SPDX-License-Identifier: MIT
// Faults in the arguments of scripts/kernel-lab, which it finds before it fetches or boots anything.
import { spawnSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import { test } from '../helpers/suite.ts';

const faults: readonly (readonly [readonly string[], RegExp])[] = [
  [[], /which command\?/],
  [['--kernel', '6.1'], /which command\?/],
  [['--kernel', '5.10', 'true'], /no kernel 5\.10: 6\.1, 6\.12 or newest/],
  [['--mem', '2G', 'true'], /--mem needs a number of MiB/],
  [['--timeout', '0', 'true'], /--timeout needs a number of seconds/],
  [['--env', 'NAME', 'true'], /--env needs NAME=VALUE/],
  [['--env'], /--env needs a value/],
  [['--cpu', '2', 'true'], /unknown option --cpu/],
];

for (const [args, sentence] of faults) {
  test(`kernel-lab ${args.join(' ')}: ${sentence.source}`, () => {
    const { status, stdout, stderr } = spawnSync('scripts/kernel-lab', args, { encoding: 'utf8' });
    assert.is(status, 64);
    assert.is(stdout, '');
    assert.match(stderr, /^kernel-lab: [^\n]*\n$/);
    assert.match(stderr, sentence);
  });
}
