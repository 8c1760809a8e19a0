// SPDX-License-Identifier: MIT
// What a master keeps of what its workers count, where the keeper can't take a descriptor.
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { Keeper } from '../../src/master/keeper.ts';
import type { StateStore } from '../../src/master/state.ts';
import { Tally } from '../../src/master/tally.ts';
import { counterNames, native } from '../../src/native.ts';
import { test } from '../helpers/suite.ts';

const files = () => readdirSync('/proc/self/fd').length;

/** With a keeper that takes so many descriptors, and then none. */
function tallyWithRoomFor(descriptors: number): Tally {
  let room = descriptors;
  const put = (): void => {
    if (room-- <= 0) throw new Error('no room for descriptors');
  };
  const keeper = { held: new Map(), put, drop: () => {} };
  const state = { current: {}, update: () => {} };
  return new Tally(keeper as unknown as Keeper, state as unknown as StateStore);
}

for (const room of [0, 1]) {
  test(`a worker that starts while there is room for ${room} of 2 leaves no descriptor behind`, async (t) => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    t.after(() => child.kill());
    const before = files();
    const tally = tallyWithRoomFor(room);
    assert.throws(() => {
      tally.open(1, 2);
      tally.started(1, child.pid as number);
    }, /no room/);
    tally.ended(1);
    assert.is(files(), before);
    assert.equal(tally.workers, []);
  });

  test(`a worker of another master that comes while there is room for ${room} of 2 is not counted`, async (t) => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    t.after(() => child.kill());
    const before = files();
    const tally = tallyWithRoomFor(room);
    const page = native.makeCounters({ names: counterNames, threads: 2 });
    const pidfd = native.pidfdOpen({ pid: child.pid as number });
    assert.throws(() => tally.add(1, child.pid as number, page, pidfd), /no room/);
    assert.is(files(), before);
    assert.equal(tally.workers, []);
  });
}

/** A master whose keeper reads nothing: what a worker's start, its end and a `drop` come to. */
const unheard = `
  import { readdirSync } from 'node:fs';
  import { meetKeeper } from '../../src/master/keeper.ts';
  import { Tally } from '../../src/master/tally.ts';
  import { native } from '../../src/native.ts';
  const keeper = await meetKeeper();
  const files = () => readdirSync('/proc/self/fd').length;
  const failure = (attempt) => { try { attempt(); } catch (error) { return error.code; } };
  while (failure(() => keeper.ready()) === undefined) continue;
  const before = files();
  const tally = new Tally(keeper, { current: {}, update: () => {} });
  const open = failure(() => tally.open(1, 2));
  const started = failure(() => tally.started(1, process.pid));
  const ended = failure(() => tally.ended(1));
  console.log(JSON.stringify({ open, started, ended, left: files() - before }));
  process.exit(0);
`;

test('a worker that can not be told of to the keeper leaves no descriptor behind, and its end is no error', () => {
  const { a, b } = native.socketPair();
  const keeper = native.openChannel({ fd: a, onMessage: () => {}, onClose: () => {} });
  for (const message of ['hello 1 1 0 serving', 'go']) keeper.send({ message });
  try {
    const told = execFileSync(process.execPath, [...process.execArgv, '--input-type=module', '-e', unheard], {
      stdio: ['ignore', 'pipe', 'inherit', b],
      cwd: import.meta.dirname,
      encoding: 'utf8',
    });
    assert.equal(JSON.parse(told), { open: 'ENOBUFS', started: 'ENOBUFS', left: 0 });
  } finally {
    native.closeFd({ fd: b });
    keeper.close();
  }
});
