// SPDX-License-Identifier: MIT
// A storm of RST from accept to the middle of data: quiet, without a spin, and every descriptor comes back.
// In the kernel lab never one direction alone: a reset ends both.

import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { clientHello } from '../helpers/client-hello.ts';
import { Peer } from '../helpers/peer.ts';
import { cpuSeconds, openFiles } from '../helpers/processes.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { tlsConnect } from '../helpers/tls-client.ts';
import { type Variant, variants } from '../helpers/variants.ts';

const backend = await startEcho();
const times = Math.round(100 / timeFactor);

/** Each opens a connection, goes so far, and resets it. */
const stages: readonly [string, (variant: Variant) => Promise<void>][] = [
  ['right after connecting', async ({ proxy }) => (await Peer.connect({ port: proxy.port })).reset()],
  [
    'inside the ClientHello',
    async ({ proxy, version }) => {
      const peer = await Peer.connect({ port: proxy.port });
      await new Promise<void>((resolve) =>
        peer.socket.write(clientHello({ version }).subarray(0, 70), () => resolve()),
      );
      peer.reset();
    },
  ],
  [
    'with the ServerHello on its way',
    async ({ proxy, version }) => {
      const peer = await Peer.connect({ port: proxy.port });
      await new Promise<void>((resolve) => peer.socket.write(clientHello({ version }), () => resolve()));
      peer.reset();
    },
  ],
  [
    'before Finished',
    async ({ proxy, version }) => {
      const client = await RawTlsClient.connect({ port: proxy.port, version, holdFinished: true });
      client.peer.reset();
    },
  ],
  [
    'with Finished on its way',
    async ({ proxy, version }) => {
      const client = await RawTlsClient.connect({ port: proxy.port, version, holdFinished: true });
      await new Promise<void>((resolve) => client.peer.socket.write(client.heldFlight, () => resolve()));
      client.peer.reset();
    },
  ],
  [
    'right after the handshake',
    async ({ proxy, version }) => (await RawTlsClient.connect({ port: proxy.port, version })).peer.reset(),
  ],
  [
    'in the middle of data',
    async ({ proxy, version }) => {
      const client = await RawTlsClient.connect({ port: proxy.port, version });
      client.sendData(Buffer.alloc(16_384));
      client.sendData(Buffer.alloc(16_384));
      await client.readData(16_384);
      client.peer.reset();
    },
  ],
];

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  const { proxy } = variant;
  for (const [stage, act] of stages) {
    test(`${variant.label}: ${stage}`, async () => {
      await Promise.all(Array.from({ length: times }, () => act(variant)));
      // A client that is served shows that the storm has been worked off by then.
      const { socket, peer } = await tlsConnect({ port: proxy.port });
      socket.write('calm');
      assert.is((await peer.read(4)).toString(), 'calm');
      socket.destroy();
      await backend.empty();
    });
  }

  test(`${variant.label}: no descriptor, no CPU time, no line above info`, async () => {
    const worker = proxy.workerPid();
    const once = openFiles(worker);
    await Promise.all(Array.from({ length: times }, () => stages[5]?.[1](variant)));
    await backend.empty();
    const before = cpuSeconds(worker);
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.ok(cpuSeconds(worker) - before < 0.1 * timeFactor, 'nothing spins');
    // Only root may look. The backend sees the end of a session before all its descriptors are closed.
    while (once !== undefined && (openFiles(worker) ?? 0) > once)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(proxy.log.all({ process_type: 'worker', level: /fatal|error|warn/ }), []);
  });
}
