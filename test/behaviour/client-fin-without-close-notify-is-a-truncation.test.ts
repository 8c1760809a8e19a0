// SPDX-License-Identifier: MIT
// RFC 8446 section 6.1: without close_notify nobody knows whether the stream is whole. It is counted, and the backend gets a FIN or,
// with on_truncation: reset, an RST. Of a record that was cut nothing is passed on.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();
const listeners = [
  { name: 'fin', backend: backend.address },
  { name: 'reset', backend: backend.address, on_truncation: 'reset' },
];

for (const variant of await variants({ listeners })) {
  const { proxy, version, label } = variant;

  test(`${label}: the backend gets FIN and may still answer`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendData('half a');
    client.peer.finish();
    assert.equal(await server.outcome(), { data: 'half a', end: 'fin' });
    server.finish('answer');
    assert.equal(await client.outcome(), { data: 'answer', alerts: [alert.closeNotify], end: 'fin' });
    assert.is((await proxy.sessionEnd(client.port)).reason, 'truncated');
  });

  test(`${label}: FIN inside a record, nothing of it is passed on`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendData('whole');
    const record = client.seal(contentType.data, 'cut in the middle');
    client.peer.finish(record.subarray(0, record.length - 1));
    assert.equal(await server.outcome(), { data: 'whole', end: 'fin' });
    server.finish();
    assert.is((await proxy.sessionEnd(client.port)).reason, 'truncated');
  });

  test(`${label}: FIN inside a record header`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.peer.finish(client.seal(contentType.data, 'x').subarray(0, 3));
    assert.equal(await server.outcome(), { data: '', end: 'fin' });
    server.finish();
    assert.is((await proxy.sessionEnd(client.port)).reason, 'truncated');
  });

  test(`${label}: with on_truncation: reset the backend gets RST`, async () => {
    const client = await RawTlsClient.connect({ port: proxy.ports[1] ?? 0, version });
    const server = await backend.next();
    client.sendData('half a');
    assert.is((await server.read(6)).toString(), 'half a');
    client.peer.finish();
    assert.is(await server.end, 'reset');
    assert.is((await client.outcome()).alerts.includes(alert.closeNotify), false);
    assert.is((await proxy.sessionEnd(client.port)).reason, 'truncated');
  });
}
