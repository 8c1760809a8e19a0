// SPDX-License-Identifier: MIT
// Names over a change of the configuration: what is known stays known.
import * as assert from 'uvu/assert';
import { createResolver } from '../../src/worker/resolver.ts';
import { test } from '../helpers/suite.ts';

/** RFC 6761: never resolved. */
const backend = 'backend.invalid:80';
const listeners = [{ id: 3, name: 'web', backend }];
const known = { known: (name: string) => (name === backend ? ['192.0.2.1:80'] : []) };

test('a name that is known needs no answer', async (t) => {
  const resolver = createResolver(listeners, () => {}, known);
  t.after(() => resolver.close());
  const started = performance.now();
  await resolver.start(10_000);
  assert.ok(performance.now() - started < 8_000, 'less than the limit');
  assert.equal(resolver.addresses(3), ['192.0.2.1:80']);
  assert.equal(resolver.known(backend), ['192.0.2.1:80']);
});

test('a name that is not known is waited for, up to the limit', async (t) => {
  const resolver = createResolver(listeners, () => {}, { known: () => [] });
  t.after(() => resolver.close());
  await resolver.start(300);
  assert.equal(resolver.addresses(3), []);
  assert.equal(resolver.known(backend), []);
});

test('numbers are their own addresses, and another name knows nothing', async (t) => {
  const both = [
    { id: 0, name: 'a', backend: '127.0.0.1:80' },
    { id: 1, name: 'b', backend: 'other.invalid:80' },
  ];
  const resolver = createResolver(both, () => {}, known);
  t.after(() => resolver.close());
  assert.equal([resolver.addresses(0), resolver.addresses(1)], [['127.0.0.1:80'], []]);
});

test('a failure names its listener, whose number another one may have had before', async (t) => {
  const both = [
    { id: 0, name: 'new', backend: 'new.invalid:80' },
    { id: 1, name: 'web', backend: 'localhost:80' },
  ];
  const changed = Promise.withResolvers<number>();
  const resolver = createResolver(both, changed.resolve);
  t.after(() => resolver.close());
  resolver.failed('gone');
  resolver.failed('web');
  assert.is(await changed.promise, 1);
});
