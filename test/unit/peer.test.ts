// SPDX-License-Identifier: MIT
// What the two masters of an upgrade say to each other, where the other one is of a version that knows more, or ends in between.
import { mock } from 'node:test';
import * as assert from 'uvu/assert';
import type { Keeper, Role } from '../../src/master/keeper.ts';
import type { Service } from '../../src/master/service.ts';
import type { Tally } from '../../src/master/tally.ts';
import { native } from '../../src/native.ts';
import { openCandidacy } from '../../src/upgrade/candidate.ts';
import { peerName, type ToCandidate, type ToServing } from '../../src/upgrade/peer.ts';
import { openLink } from '../../src/worker/link.ts';
import { test } from '../helpers/suite.ts';

/** A candidate of which only this is there, and the link to it; `reported` settles with what it notes of the report. */
function candidateWith(workers: object) {
  const { a, b } = native.socketPair();
  const reported = Promise.withResolvers<object>();
  const state = { update: (change: object) => reported.resolve(change) };
  const keeper = { held: new Map([[peerName, b]]), drop: () => {} };
  const service = { state, workers: { started: new Promise(() => {}), ...workers } };
  void openCandidacy(keeper as unknown as Keeper).stand(service as unknown as Service);
  const serving = openLink<{ readonly type: string; readonly donor?: number; readonly report?: object }, ToServing>({
    ...{ fd: a, onMessage: () => {}, onClose: () => {}, onMismatch: () => {} },
  });
  return { serving, reported: reported.promise };
}

const report = { type: 'report', report: { outcome: 'committed' } };

for (const [what, message] of [
  ['a message of a type that a candidate does not know', { type: 'of-a-later-version' }],
  ['what a candidate can not pass on to its worker', { type: 'take', donor: 1 }],
] as const) {
  test(`${what} is dropped, with its descriptors`, async (t) => {
    const take = () => {
      throw new Error('no room for descriptors');
    };
    const { serving, reported } = candidateWith({ serving: undefined, take });
    t.after(() => serving.close());
    const { a, b } = native.socketPair();
    const closed = new Promise<void>((resolve) => native.openChannel({ fd: a, onMessage: () => {}, onClose: resolve }));
    serving.send(message, [b]);
    native.closeFd({ fd: b });
    serving.send(report);
    assert.equal(await reported, { lastUpgrade: { outcome: 'committed' } });
    await closed;
  });
}

test('a worker that can not be followed is only missing in the report', async (t) => {
  const { a, b } = native.socketPair();
  t.after(() => native.closeFd({ fd: a }));
  const keeper = { held: new Map([[peerName, b]]), drop: () => {} } as unknown as Keeper;
  const { started } = openCandidacy(keeper);
  // As at the file limit, there are no copies of these.
  const tally = { descriptorsOf: () => ({ page: 1 << 20, pidfd: 1 << 20 }) } as unknown as Tally;
  started({ id: 1, pid: process.pid }, tally);
});

/** A candidate that waits for its commit, and the serving master's end. */
async function standing() {
  const { a, b } = native.socketPair();
  const dropped: string[] = [];
  const keeper = {
    held: new Map([[peerName, b]]),
    drop: (name: string) => dropped.push(name),
    ready: () => {},
    onRole: (_: Role) => {},
  };
  const workers = { started: Promise.resolve(), serving: { id: 1, pid: process.pid } };
  const ready = Promise.withResolvers<void>();
  const serving = openLink<ToCandidate, ToServing>({
    fd: a,
    onMessage: ({ type }) => type === 'ready' && ready.resolve(),
    ...{ onClose: () => {}, onMismatch: () => {} },
  });
  const stood = openCandidacy(keeper as unknown as Keeper).stand({ workers } as unknown as Service);
  await ready.promise;
  return { keeper, serving, stood, dropped };
}

/** With timers that only tick when they are told to. */
async function timeless(body: () => Promise<void>): Promise<void> {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    await body();
  } finally {
    mock.timers.reset();
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a candidate serves at once where the other master ends around its commit, with all untold', async () => {
  for (const first of ['commit', 'end'] as const) {
    const { keeper, serving, stood, dropped } = await standing();
    await timeless(async () => {
      if (first === 'commit') keeper.onRole('serving');
      serving.close();
      while (dropped.length === 0) await turn();
      if (first === 'end') keeper.onRole('serving');
      assert.is(await stood, 0);
    });
    assert.equal(dropped, [peerName]);
  }
});

test('a candidate serves in the end where the other master lives on and tells nothing', async (t) => {
  const { keeper, serving, stood } = await standing();
  t.after(() => serving.close());
  await timeless(async () => {
    keeper.onRole('serving');
    let serves = false;
    void stood.then(() => {
      serves = true;
    });
    // The limit is set some turns later.
    for (let i = 0; i < 10; i++) await turn();
    assert.not.ok(serves);
    mock.timers.tick(1_000);
    assert.is(await stood, 0);
  });
});
