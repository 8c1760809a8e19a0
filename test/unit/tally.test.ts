// SPDX-License-Identifier: MIT
// What a master keeps of what its workers count, where the keeper can't take a descriptor.
import { spawn } from 'node:child_process';
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
