// SPDX-License-Identifier: MIT
// What the two masters of an upgrade say to each other, where the other one is of a version that knows more.
import { readdirSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { Keeper } from '../../src/master/keeper.ts';
import type { Service } from '../../src/master/service.ts';
import { native } from '../../src/native.ts';
import { openCandidacy } from '../../src/upgrade/candidate.ts';
import { peerName, type ToServing } from '../../src/upgrade/peer.ts';
import { openLink } from '../../src/worker/link.ts';
import { test } from '../helpers/suite.ts';

test('a message of a type that a candidate does not know is dropped, with its descriptors', async (t) => {
  const { a, b } = native.socketPair();
  const reported = Promise.withResolvers<object>();
  const state = { update: (change: object) => reported.resolve(change) };
  const workers = { started: new Promise(() => {}) };
  const keeper = { held: new Map([[peerName, b]]), drop: () => {} };
  void openCandidacy(keeper as unknown as Keeper).stand({ state, workers } as unknown as Service);
  const serving = openLink<{ readonly type: string; readonly report?: object }, ToServing>({
    ...{ fd: a, onMessage: () => {}, onClose: () => {}, onMismatch: () => {} },
  });
  t.after(() => serving.close());
  const files = () => readdirSync('/proc/self/fd').length;
  const before = files();
  const own = native.socketPair();
  serving.send({ type: 'of-a-later-version' }, [own.a, own.b]);
  for (const fd of [own.a, own.b]) native.closeFd({ fd });
  serving.send({ type: 'report', report: { outcome: 'committed' } });
  assert.equal(await reported.promise, { lastUpgrade: { outcome: 'committed' } });
  assert.is(files(), before);
});
