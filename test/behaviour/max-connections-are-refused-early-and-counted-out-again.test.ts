// SPDX-License-Identifier: MIT
// Not in the kernel lab: who is counted is the same with every engine.
import * as net from 'node:net';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { Peer } from '../helpers/peer.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { exchangeRaw } from '../helpers/tls-client.ts';
import { type Session, variants } from '../helpers/variants.ts';

const limit = 5;
const backend = await startBackend();
const options = { listeners: [{ backend: backend.address }], config: { max_connections: limit } };

for (const { proxy, version, label } of await variants(options)) {
  /** A place is free a moment after the log has told the end of who had it: until then the next one is refused. */
  const open = async (): Promise<Session> => {
    for (;;) {
      const client = await RawTlsClient.connect({ port: proxy.port, version }).catch(() => undefined);
      if (client !== undefined) return { client, server: await backend.next() };
    }
  };

  test(`${label}: one too many is closed before its handshake, and a place that gets free is used`, async () => {
    const full: Session[] = [];
    // One after the other: only so each client's backend connection is known.
    while (full.length < limit) full.push(await open());
    for (let i = 0; i < 20; i++) {
      const { data } = await exchangeRaw(proxy.port, Buffer.alloc(0));
      assert.is(data.length, 0, 'no byte of a handshake');
    }
    // Those inside are not disturbed.
    for (const { client, server } of full) {
      client.sendData('still');
      assert.is((await server.read(5)).toString(), 'still');
    }
    const [first, ...rest] = full;
    first?.client.peer.reset();
    await proxy.sessionEnd(first?.client.port);
    const next = await open();
    next.server.write('in');
    assert.is((await next.client.readData(2)).toString(), 'in');
    for (const { client } of [next, ...rest]) client.peer.reset();
    for (const { client } of [next, ...rest]) await proxy.sessionEnd(client.port);
  });

  test(`${label}: handshakes count as well`, async () => {
    await backend.empty();
    const silent = Array.from({ length: limit + 1 }, () => new Peer(net.connect(proxy.port, '127.0.0.1')));
    // Which one is refused depends on the thread that accepts it.
    await Promise.race(silent.map((peer) => peer.end));
    assert.ok(silent.filter((peer) => peer.ending === undefined).length <= limit);
    for (const peer of silent) peer.reset();
    const { client } = await open();
    client.peer.reset();
    await proxy.sessionEnd(client.port);
  });
}
