// SPDX-License-Identifier: MIT
// share/systemd/ironsocket.service says what this program understands.
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { parseConfigArguments } from '../../src/config/flags.ts';
import { exitCodes } from '../../src/errors.ts';
import { ironsocket } from '../helpers/commands.ts';
import { test } from '../helpers/suite.ts';

const project = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const unit = project('share/systemd/ironsocket.service');

function setting(name: string): string {
  const [, value] = new RegExp(`^${name}=(.*)$`, 'm').exec(unit) ?? [];
  if (value === undefined) throw new Error(`the unit has no ${name}=`);
  return value;
}

test('the service is started and reloaded by commands that there are', async () => {
  const [program, command, ...args] = setting('ExecStart').split(' ');
  assert.equal([program, command], ['ironsocket', 'run']);
  assert.is(parseConfigArguments(args).file, '/etc/ironsocket/ironsocket.yaml');
  const [, ...reload] = setting('ExecReload')
    .replace(/\$\{MAINPID\}/, '0')
    .split(' ');
  const { code, stderr } = await ironsocket(...reload);
  assert.is(code, exitCodes.system);
  assert.match(stderr, "can't reach the service by /run/ironsocket/0.sock");
});

test('what only people can mend is not tried again', () => {
  assert.equal(setting('RestartPreventExitStatus').split(' ').map(Number), [exitCodes.usage, exitCodes.config]);
});

test('the package has it', () => {
  assert.ok((JSON.parse(project('package.json')) as { files: string[] }).files.includes('share'));
});
