// SPDX-License-Identifier: MIT
// A master that has taken over the worker of a dead one, and one that can't start a worker.
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { Keeper } from '../../src/master/keeper.ts';
import type { StateStore } from '../../src/master/state.ts';
import type { Tally } from '../../src/master/tally.ts';
import { spawnWorker } from '../../src/master/worker-process.ts';
import { Workers, type WorkersOptions } from '../../src/master/workers.ts';
import { native } from '../../src/native.ts';
import { openLink } from '../../src/worker/link.ts';
import type { ToMaster, ToWorker, WorkerPlan } from '../../src/worker/messages.ts';
import { test } from '../helpers/suite.ts';

const files = () => readdirSync('/proc/self/fd').length;

/** What a worker of id 1 and its state look like to the next master. */
function mastersOf(pid: number, channel: number, plan: WorkersOptions['plan']): Workers {
  const held = new Map([
    ['worker:1:pidfd', native.pidfdOpen({ pid })],
    ['worker:1:channel', channel],
  ]);
  const keeper = { held, role: 'serving', start: 1, put: () => {}, drop: () => {}, watchChild: () => () => {} };
  const state = { current: { worker: { id: 1, pid }, revision: 1, nextWorkerId: 2 }, update: () => {} };
  const tally = { descriptorsOf: () => undefined, ended: () => {}, of: () => {} };
  return new Workers({
    keeper: keeper as unknown as Keeper,
    state: state as unknown as StateStore,
    tally: tally as unknown as Tally,
    plan,
  });
}

test('a worker that was taken over and does not accept is asked until it does', async (t) => {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  const { a, b } = native.socketPair();
  let plans = 0;
  const workers = mastersOf(child.pid as number, a, (id, accepting) => {
    if (++plans === 1) throw new Error('no descriptor for the plan');
    const plan = { listeners: [], ticketKeysFd: -1 };
    return { id, revision: 1, accepting, logFd: 2, countersFd: -1, plan } as unknown as WorkerPlan;
  });
  const accepts: boolean[] = [];
  const taken = Promise.withResolvers<void>();
  const worker = openLink<ToMaster, ToWorker>({
    fd: b,
    onClose: () => {},
    onMismatch: (error) => taken.reject(new Error(error)),
    onMessage: (message, fds) => {
      for (const fd of fds) native.closeFd({ fd });
      if (message.type === 'master') {
        worker.send({ type: 'status', state: 'serving', revision: 1, accepting: false });
      } else if (message.type === 'reconfigure') {
        accepts.push(message.accepting);
        const first = accepts.length === 1;
        worker.send({ type: 'reconfigured', revision: 1, ...(first ? { error: 'fcntl: EMFILE' } : {}) });
        if (!first) taken.resolve();
      }
    },
  });
  t.after(() => {
    workers.stop();
    worker.close();
    child.kill('SIGKILL');
    return workers.ended;
  });
  workers.start(false);
  await taken.promise;
  // Nothing else waits for its turn before this.
  await workers.accept(true);
  assert.equal({ plans, accepts }, { plans: 4, accepts: [true, true, true] });
});

for (const room of [0, 1]) {
  test(`a worker that can't be started for want of room at the keeper for ${2 - room} of 2 leaves nothing behind`, async () => {
    const kept = new Set<string>();
    const keeper = {
      put: (name: string) => {
        if (kept.size === room) throw new Error('no room for descriptors');
        kept.add(name);
      },
      drop: (name: string) => kept.delete(name),
    };
    const before = files();
    const events = { onMessage: () => {}, onEnd: () => {} };
    assert.throws(() => spawnWorker(1, keeper as unknown as Keeper, events), /no room/);
    assert.is(files(), before);
    assert.equal([...kept], []);
  });
}

test('a worker that can not even be asked for leaves no descriptor behind', (t) => {
  const { execPath } = process;
  t.after(() => Object.assign(process, { execPath }));
  process.execPath = '\0';
  const before = files();
  assert.throws(() => spawnWorker(1, {} as Keeper, { onMessage: () => {}, onEnd: () => {} }), /null bytes/);
  assert.is(files(), before);
});
