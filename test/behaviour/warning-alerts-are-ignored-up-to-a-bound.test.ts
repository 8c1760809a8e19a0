// SPDX-License-Identifier: MIT
// RFC 8446 section 6.1: user_canceled is the only alert of TLS 1.3 that is not fatal, whatever its level says. TLS 1.2 has real warnings.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import type { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { openSession, type Variant, variants } from '../helpers/variants.ts';

const backend = await startBackend();

/** A warning that may be ignored. */
function warn(variant: Variant, client: RawTlsClient): void {
  client.sendAlert(variant.version === '1.3' ? alert.userCanceled : alert.noRenegotiation, 1);
}

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  test(`${variant.label}: four in a row, again and again with data between`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 4; i++) warn(variant, client);
      client.sendData('on');
      assert.is((await server.read(2)).toString(), 'on');
    }
    client.sendAlert(alert.closeNotify);
    assert.is(await server.end, 'fin');
    server.finish();
    assert.equal((await client.outcome()).alerts, [alert.closeNotify]);
  });

  test(`${variant.label}: the fifth in a row is unexpected_message`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 5; i++) warn(variant, client);
    assert.equal(await client.outcome(), { data: '', alerts: [alert.unexpectedMessage], end: 'fin' });
    assert.is(await server.end, 'reset');
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'protocol_fault');
  });

  test(`${variant.label}: a fatal alert is answered with nothing`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendAlert(alert.badRecordMac, variant.version === '1.3' ? 1 : 2);
    assert.is(await server.end, 'reset');
    assert.equal((await client.outcome()).alerts, []);
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'client_alert');
  });
}
