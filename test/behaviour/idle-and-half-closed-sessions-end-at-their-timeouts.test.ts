// SPDX-License-Identifier: MIT
// close_notify or an alert to the client, RST to the backend. Bytes in either direction start the time again. All sessions wait at the same
// time, which leaves each enough of it for a machine that stands still now and then.
// In the kernel lab on the newest alone: timers are our own.
// In the kernel lab never one direction alone: who ends a session by a timer does not read.

import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { alert } from '../helpers/tls-records.ts';
import { openSession, type Session, type Variant, variants } from '../helpers/variants.ts';

const backend = await startBackend();
/** Milliseconds; bytes that come every `pause` keep a session. */
const timeout = 4_000;
const pause = 1_500;
const listeners = [
  { name: 'idle', backend: backend.address, timeouts: { idle: `${timeout}ms` } },
  { name: 'half', backend: backend.address, timeouts: { half_closed: `${timeout}ms`, idle: '1h' } },
];

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

type Wait = readonly [what: string, listener: 0 | 1, wait: (session: Session) => Promise<void>, reason: string];

const waits: readonly Wait[] = [
  [
    'an idle session',
    0,
    async ({ client, server }) => {
      const started = performance.now();
      assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
      assert.ok(performance.now() - started > timeout * 0.8, 'not before its time');
      assert.is(await server.end, 'reset');
    },
    'idle_timeout',
  ],
  [
    'bytes keep a session, whoever sends them',
    0,
    async ({ client, server }) => {
      const started = performance.now();
      for (let i = 0; i < 3; i++) {
        await wait(pause);
        if (i % 2 === 0) client.sendData('x');
        else server.write('y');
        if (i % 2 === 0) await server.read(1);
        else await client.readData(1);
      }
      assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
      assert.ok(performance.now() - started > 3 * pause + timeout * 0.8);
    },
    'idle_timeout',
  ],
  [
    'a backend that never answers a half-closed client',
    1,
    async ({ client, server }) => {
      client.sendAlert(alert.closeNotify);
      assert.is(await server.end, 'fin');
      // Not close_notify: an answer that never came must not look whole.
      assert.equal(await client.outcome(), { data: '', alerts: [alert.internalError], end: 'fin' });
    },
    'half_closed_timeout',
  ],
  [
    'a half-closed session lives on while the answer flows',
    1,
    async ({ client, server }) => {
      client.sendAlert(alert.closeNotify);
      assert.is(await server.end, 'fin');
      for (let i = 0; i < 3; i++) {
        await wait(pause);
        server.write('tick');
        assert.is((await client.readData(4)).toString(), 'tick');
      }
      server.finish();
      assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    },
    'closed',
  ],
  [
    "a client that never closes after the backend's FIN",
    1,
    async ({ client, server }) => {
      server.finish('bye');
      assert.equal(await client.outcome({ stay: true }), { data: 'bye', alerts: [alert.closeNotify], end: 'fin' });
      assert.is(await server.end, 'reset');
    },
    'half_closed_timeout',
  ],
];

// They wait most of the time, and where that counts three engines are enough: the timers are the session's, not TLS's.
const all = await variants({ listeners }, timeFactor > 1 ? ['1.3'] : undefined);
const nameOf = ({ label }: Variant, [what]: Wait): string => `${label}: ${what}`;
/** By name, the ends of those that have begun. */
const ends = new Map<string, Promise<void>>();

async function begin(variant: Variant, each: Wait): Promise<void> {
  const [, listener, body, reason] = each;
  const { proxy } = variant;
  const session = await openSession({ ...variant, proxy: { ...proxy, port: proxy.ports[listener] ?? 0 } }, backend);
  const end = body(session).then(async () => {
    assert.is((await proxy.sessionEnd(session.client.port, session.client.listenPort)).reason, reason);
  });
  end.catch(() => {});
  ends.set(nameOf(variant, each), end);
}

test('all of them begin', async () => {
  for (const variant of all) for (const each of waits) await begin(variant, each);
});

for (const variant of all) {
  for (const each of waits) {
    test(nameOf(variant, each), async () => {
      const end = ends.get(nameOf(variant, each));
      assert.ok(end !== undefined, 'it has begun');
      await end;
    });
  }
}
