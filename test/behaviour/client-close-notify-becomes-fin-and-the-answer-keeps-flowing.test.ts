// SPDX-License-Identifier: MIT
// RFC 8446 section 6.1: close_notify ends one direction only. For TLS 1.2 the same is done, as docs/design.md says.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  test(`${variant.label}: the backend reads to FIN, answers, and the client gets it all`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendData('question');
    client.sendAlert(alert.closeNotify);
    assert.equal(await server.outcome(), { data: 'question', end: 'fin' });
    server.write('first part, ');
    assert.is((await client.readData(12)).toString(), 'first part, ');
    server.finish('second part');
    assert.equal(await client.outcome(), { data: 'second part', alerts: [alert.closeNotify], end: 'fin' });
    const line = await variant.proxy.sessionEnd(client.port);
    assert.is(line.reason, 'closed');
    assert.is(line.bytes_from_client, '8');
    assert.is(line.bytes_to_client, '23');
    assert.is(line.engine_rx, variant.rx);
    assert.is(line.engine_tx, variant.tx);
  });

  test(`${variant.label}: a client that also sends FIN behind its close_notify gets the answer`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendData('question');
    client.sendAlert(alert.closeNotify);
    client.peer.finish();
    assert.equal(await server.outcome(), { data: 'question', end: 'fin' });
    server.finish('answer');
    assert.equal(await client.outcome(), { data: 'answer', alerts: [alert.closeNotify], end: 'fin' });
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'closed');
  });

  test(`${variant.label}: what comes behind close_notify is ignored`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendData('before');
    client.sendAlert(alert.closeNotify);
    client.sendData('behind');
    assert.equal(await server.outcome(), { data: 'before', end: 'fin' });
    server.finish('answer');
    assert.equal(await client.outcome(), { data: 'answer', alerts: [alert.closeNotify], end: 'fin' });
  });

  test(`${variant.label}: close_notify without any data`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendAlert(alert.closeNotify);
    assert.equal(await server.outcome(), { data: '', end: 'fin' });
    server.finish();
    assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
  });
}
