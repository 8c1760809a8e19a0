// SPDX-License-Identifier: MIT
// Post-quantum hellos do not fit one segment, and some networks cut anywhere.
// Not in the kernel lab: it is about the handshake; what comes glued to its end has a test that runs there.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { clientHello } from '../helpers/client-hello.ts';
import { Peer } from '../helpers/peer.ts';
import { test } from '../helpers/suite.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  for (const pieces of [1, 2, 7, 500]) {
    test(`${variant.label}: segments of ${pieces} bytes`, async () => {
      const { client, server } = await openSession(variant, backend, { pieces });
      client.sendData('there');
      assert.is((await server.read(5)).toString(), 'there');
      client.peer.reset();
      await server.end;
    });
  }

  for (const recordSize of [1, 100]) {
    test(`${variant.label}: a ClientHello in records of ${recordSize} bytes is answered with ServerHello`, async () => {
      const peer = await Peer.connect({ port: variant.proxy.port });
      peer.write(clientHello({ version: variant.version, sni: Buffer.from('localhost'), recordSize }));
      const head = await peer.read(6);
      assert.is(head[0], 22);
      assert.is(head[5], 2);
      peer.reset();
    });
  }

  test(`${variant.label}: a ClientHello of 60 KiB is answered with ServerHello`, async () => {
    const peer = await Peer.connect({ port: variant.proxy.port });
    peer.write(clientHello({ version: variant.version, filler: 60_000 }));
    assert.is((await peer.read(6))[5], 2);
    peer.reset();
  });

  test(`${variant.label}: a handshake with HelloRetryRequest, or another curve`, async () => {
    // TLS 1.2 binds the key of the certificate, P-256, to this list as well.
    const groups = variant.version === '1.3' ? 'P-521:P-384' : 'P-384:P-256';
    const { client, server } = await openSession(variant, backend, { groups });
    client.sendData('there');
    assert.is((await server.read(5)).toString(), 'there');
    client.peer.reset();
    await server.end;
  });
}
