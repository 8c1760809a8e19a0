// SPDX-License-Identifier: MIT
// Runs alone: it counts what passes a request by while others flood the same relay thread. A KeyUpdate is a few bytes for who sends it and new
// keys for us, so data and KeyUpdates in turn, which no limit forbids, are charged for that (test/native/turn-test.cc has the exact turns).
// In the kernel lab on the newest alone: before it, the kernel follows no KeyUpdate.
import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { contentType } from '../helpers/tls-records.ts';
import { openSession, type Session, variants } from '../helpers/variants.ts';

const floods = 4;
const pairs = Math.round(15_000 / timeFactor);
const echo = await startEcho();
const flooded = await startBackend({ taking: 'count' });
const options = {
  listeners: [
    { name: 'flood', backend: flooded.address },
    { name: 'small', backend: echo.address },
  ],
  config: { threads: { handshake: 1, relay: 1 } },
};

for (const variant of await variants(options, ['1.3'])) {
  // An engine that can't follow ends the session at the first one.
  if (!variant.rekeys.rx) continue;

  test(
    `${variant.label}: requests beside ${floods} clients that update their keys all the time`,
    async (t) => {
      const { socket, peer } = await tlsConnect({ port: variant.proxy.ports[1] ?? 0, ...only('1.3') });
      const sessions: Session[] = [];
      for (let i = 0; i < floods; i++) sessions.push(await openSession(variant, flooded));
      t.after(() => {
        for (const { client } of sessions) client.peer.reset();
        socket.destroy();
      });
      const wire = sessions.map(({ client }) =>
        Buffer.concat(
          Array.from({ length: pairs }, () => [client.seal(contentType.data, 'x'), client.sealKeyUpdate(0)]).flat(),
        ),
      );
      for (const [i, { client }] of sessions.entries()) client.peer.write(wire[i] ?? '');
      const arrived = (): number => sessions.reduce((sum, { server }) => sum + server.received, 0);
      const passed: number[] = [];
      while (arrived() < floods * pairs) {
        const before = arrived();
        socket.write('ping');
        await peer.read(4);
        passed.push(arrived() - before);
      }
      passed.sort((a, b) => a - b);
      // Pairs, because time is the machine's. A turn of each flood is 60 of them, and a request takes two rounds of turns: 480. Charged by
      // their bytes alone it is 14,000.
      const quarter = passed[passed.length >> 2] ?? 0;
      assert.ok(quarter < 4000, `${quarter} pairs passed by all but a quarter of the requests`);
    },
    { deadline: 60_000 },
  );
}
