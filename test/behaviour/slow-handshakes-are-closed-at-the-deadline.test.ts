// SPDX-License-Identifier: MIT
// The deadline runs from accept and no byte moves it. Meanwhile others are served.
// Not in the kernel lab: no session gets as far as its record engine.

import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { clientHello } from '../helpers/client-hello.ts';
import { Peer } from '../helpers/peer.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startEcho();
const deadline = 1000;
const options = {
  listeners: [
    { name: 'strict', backend: backend.address, timeouts: { handshake: `${deadline}ms` } },
    { name: 'patient', backend: backend.address },
  ],
  // Who has this deadline instead of its own is not closed in the test's time.
  config: { timeouts: { handshake: '10m' } },
};
const many = 400;

// A slow machine has them with one version: the deadline is the connection's, not TLS's.
const all = await variants(options, timeFactor > 1 ? ['1.3'] : undefined);
for (const { proxy, version, label } of all) {
  const timed = async (act: (peer: Peer) => unknown): Promise<number> => {
    const peer = await Peer.connect({ port: proxy.port });
    const started = performance.now();
    await act(peer);
    await peer.end;
    peer.socket.destroy();
    return performance.now() - started;
  };
  // If every byte moved it, it would come much later.
  const inTime = (ms: number): void => assert.ok(ms > deadline * 0.8 && ms < deadline * 8, `closed after ${ms} ms`);

  test(`${label}: a silent client`, async () => {
    inTime(await timed(() => {}));
  });

  test(`${label}: half a ClientHello`, async () => {
    inTime(await timed((peer) => peer.write(clientHello({ version }).subarray(0, 50))));
  });

  test(`${label}: a byte now and then`, async () => {
    const hello = clientHello({ version });
    let at = 0;
    let timer: NodeJS.Timeout | undefined;
    const ms = await timed((peer) => {
      timer = setInterval(() => peer.socket.writable && peer.write(hello.subarray(at, ++at)), 100);
    });
    clearInterval(timer);
    inTime(ms);
  });

  test(`${label}: a client that never sends Finished`, async () => {
    // On a busy machine some are closed before they get as far.
    let started = 0;
    let client: RawTlsClient | undefined;
    while (client === undefined) {
      started = performance.now();
      client = await RawTlsClient.connect({ port: proxy.port, version, holdFinished: true }).catch(() => undefined);
    }
    await client.peer.end;
    inTime(performance.now() - started);
    const line = await proxy.log.waitFor({ event: 'auth', client_port: client.port });
    assert.is.not(line.outcome, 'granted');
    assert.is(line.level, 'info');
  });

  const crowd = async (t: TestContext, port: number | undefined): Promise<Peer[]> => {
    const slow = await Promise.all(Array.from({ length: many }, () => Peer.connect({ port: port ?? 0 })));
    t.after(() => {
      for (const { socket } of slow) socket.destroy();
    });
    for (const peer of slow.slice(0, many / 2)) peer.write(clientHello({ version }).subarray(0, 30));
    return slow;
  };

  test(`${label}: hundreds of slow ones do not keep a good one waiting`, async (t) => {
    const port = proxy.ports[1] ?? 0;
    const slow = await crowd(t, port);
    const { socket, peer } = await tlsConnect({ port });
    socket.write('hello');
    await peer.read(5);
    assert.is(slow.filter(({ ending }) => ending !== undefined).length, 0, 'they are still there');
    socket.destroy();
  });

  test(`${label}: hundreds of slow ones are closed`, async (t) => {
    await Promise.all((await crowd(t, proxy.port)).map(({ end }) => end));
  });
}

test('nobody who did not finish a handshake reached the backend', () => {
  assert.is(backend.accepted(), all.length, 'the good ones');
});
