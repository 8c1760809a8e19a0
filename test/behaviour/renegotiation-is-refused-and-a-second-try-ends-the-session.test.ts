// SPDX-License-Identifier: MIT
// RFC 5246 section 7.2.2: no_renegotiation is a warning, the session goes on. TLS 1.3 has no renegotiation at all.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();
const hello = Buffer.concat([Buffer.from([1, 0, 0, 60, 3, 3]), Buffer.alloc(58)]);

for (const variant of await variants({ listeners: [{ backend: backend.address }] }, ['1.2'])) {
  test(`${variant.label}: one ClientHello is refused with a warning`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.send(contentType.handshake, hello);
    const refusal = await client.read();
    assert.equal(refusal?.content, Buffer.from([1, alert.noRenegotiation]));
    client.sendData('on');
    assert.is((await server.read(2)).toString(), 'on');
    server.finish('and back');
    assert.is((await client.outcome()).data, 'and back');
    client.peer.reset();
  });

  test(`${variant.label}: a ClientHello over several records is refused once`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (const at of [0, 20, 40, 60])
      client.send(contentType.handshake, hello.subarray(at, Math.min(at + 20, hello.length)));
    client.sendData('on');
    assert.is((await server.read(2)).toString(), 'on');
    server.finish();
    assert.equal((await client.outcome()).alerts, [`warning ${alert.noRenegotiation}`, alert.closeNotify]);
    client.peer.reset();
  });

  test(`${variant.label}: the second ends the session`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.send(contentType.handshake, hello);
    client.sendData('between');
    client.send(contentType.handshake, hello);
    const { alerts, end } = await client.outcome();
    assert.is(alerts[0], `warning ${alert.noRenegotiation}`);
    assert.is(alerts.length, 2);
    assert.is(typeof alerts[1], 'number');
    assert.is(end, 'fin');
    assert.is(await server.end, 'reset');
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'protocol_fault');
  });
}
