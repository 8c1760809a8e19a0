// SPDX-License-Identifier: MIT
// What was read past the handshake reaches the backend first, and a client may have said everything, FIN included, before its keys are
// taken over.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();
/** For a session that may or may not get as far as its backend. */
const spare = await startBackend();
const listeners = [
  { name: 'main', backend: backend.address },
  { name: 'spare', backend: spare.address },
];

for (const variant of await variants({ listeners })) {
  const connect = (listener = 0): Promise<RawTlsClient> =>
    RawTlsClient.connect({ port: variant.proxy.ports[listener] ?? 0, version: variant.version, holdFinished: true });

  test(`${variant.label}: data in the segment of Finished`, async () => {
    const client = await connect();
    client.peer.write(Buffer.concat([client.heldFlight, client.seal(contentType.data, 'glued')]));
    const server = await backend.next();
    assert.is((await server.read(5)).toString(), 'glued');
    server.finish('answer');
    assert.is((await client.outcome()).data, 'answer');
    client.peer.reset();
  });

  test(`${variant.label}: a megabyte behind Finished`, async () => {
    const client = await connect();
    const records = Array.from({ length: 64 }, (_, i) => client.seal(contentType.data, Buffer.alloc(16_384, i)));
    client.peer.write(Buffer.concat([client.heldFlight, ...records]));
    const server = await backend.next();
    const all = await server.read(64 * 16_384);
    for (let i = 0; i < 64; i++) assert.is(all[i * 16_384], i);
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: half a record in the segment of Finished, the rest later`, async () => {
    const client = await connect();
    const record = client.seal(contentType.data, 'in two parts');
    client.peer.write(Buffer.concat([client.heldFlight, record.subarray(0, 11)]));
    const server = await backend.next();
    client.peer.write(record.subarray(11));
    assert.is((await server.read(12)).toString(), 'in two parts');
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: data, close_notify and FIN with Finished`, async () => {
    const client = await connect();
    const close = client.seal(contentType.data, 'all I have to say');
    client.peer.finish(
      Buffer.concat([client.heldFlight, close, client.seal(contentType.alert, Buffer.from([1, alert.closeNotify]))]),
    );
    const server = await backend.next();
    assert.equal(await server.outcome(), { data: 'all I have to say', end: 'fin' });
    server.finish('noted');
    assert.equal(await client.outcome(), { data: 'noted', alerts: [alert.closeNotify], end: 'fin' });
  });

  test(`${variant.label}: the backend speaks first`, async () => {
    const { client, server } = await openSession(variant, backend);
    server.write('220 ready');
    assert.is((await client.readData(9)).toString(), '220 ready');
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: a bad record with Finished`, async () => {
    const client = await connect(1);
    client.peer.write(Buffer.concat([client.heldFlight, client.seal(contentType.data, 'x', { flip: true })]));
    assert.equal((await client.outcome()).alerts, [alert.badRecordMac]);
  });
}
