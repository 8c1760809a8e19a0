// SPDX-License-Identifier: MIT
// A cut answer must not look whole: neither close_notify nor FIN may stand at its end.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  /** Until the proxy has seen its connection to the backend, an RST means that there is none: a fatal alert. */
  const connected = (port: number): Promise<unknown> =>
    variant.proxy.log.waitFor({ event: 'proxy', subevent: 'server_connect', client_port: port });

  test(`${variant.label}: RST in the middle of an answer`, async () => {
    const { client, server } = await openSession(variant, backend);
    server.write('half an ans');
    assert.is((await client.readData(11)).toString(), 'half an ans');
    server.reset();
    assert.equal(await client.outcome(), { data: '', alerts: [], end: 'reset' });
    const line = await variant.proxy.sessionEnd(client.port);
    assert.is(line.reason, 'backend_reset');
    assert.is(line.level, 'info');
  });

  test(`${variant.label}: RST before any byte`, async () => {
    const { client, server } = await openSession(variant, backend);
    await connected(client.port);
    server.reset();
    assert.equal(await client.outcome(), { data: '', alerts: [], end: 'reset' });
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'backend_reset');
  });

  test(`${variant.label}: RST while the client is half closed`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendAlert(alert.closeNotify);
    assert.is(await server.end, 'fin');
    server.reset();
    assert.equal(await client.outcome(), { data: '', alerts: [], end: 'reset' });
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'backend_reset');
  });

  test(`${variant.label}: RST while the client uploads`, async () => {
    const { client, server } = await openSession(variant, backend);
    await connected(client.port);
    server.socket.pause();
    for (let i = 0; i < 200; i++) client.sendData(Buffer.alloc(16_384));
    server.reset();
    assert.is(await client.peer.end, 'reset');
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'backend_reset');
  });
}
