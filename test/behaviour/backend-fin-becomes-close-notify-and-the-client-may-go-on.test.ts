// SPDX-License-Identifier: MIT
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  test(`${variant.label}: data, close_notify, FIN, and the client uploads on`, async () => {
    const { client, server } = await openSession(variant, backend);
    server.finish('all of it');
    assert.equal(await client.outcome({ stay: true }), { data: 'all of it', alerts: [alert.closeNotify], end: 'fin' });
    client.sendData('still uploading');
    assert.is((await server.read(15)).toString(), 'still uploading');
    client.sendData(', done');
    client.sendAlert(alert.closeNotify);
    client.peer.finish();
    assert.equal(await server.outcome(), { data: ', done', end: 'fin' });
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'closed');
  });

  test(`${variant.label}: a backend that closes at once`, async () => {
    const { client, server } = await openSession(variant, backend);
    server.finish();
    assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    client.peer.finish();
    assert.is(await server.end, 'fin');
    await variant.proxy.sessionEnd(client.port);
  });

  test(`${variant.label}: everything reaches a slow reader before close_notify`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.peer.socket.pause();
    const size = 6 << 20;
    server.finish(Buffer.alloc(size, 'a'));
    // Or as much of it as all the buffers between take, which is the kernel's choice.
    await Promise.race([once(server.socket, 'finish'), new Promise((resolve) => setTimeout(resolve, 1000))]);
    client.peer.socket.resume();
    const { data, alerts, end } = await client.outcome({ stay: true });
    assert.is(data.length, size);
    assert.equal({ alerts, end }, { alerts: [alert.closeNotify], end: 'fin' });
    client.sendAlert(alert.closeNotify);
    client.peer.finish();
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'closed');
  });
}
