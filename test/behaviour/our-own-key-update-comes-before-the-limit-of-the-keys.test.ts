// SPDX-License-Identifier: MIT
// RFC 8446 section 5.5. With an engine that can't change its keys (the kernel's before Linux 6.14) the session ends there instead, and
// no client is asked for what could not be followed. The limit, 2^24.5 records for AES-GCM, is lowered by the environment variable that only tests set.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();
const options = { listeners: [{ backend: backend.address }], env: { IRONSOCKET_TEST_KEY_UPDATE_RECORDS: '50' } };
const all = await variants(options);

const tls13 = all.filter(({ version }) => version === '1.3');

for (const variant of tls13.filter(({ rekeys }) => !rekeys.tx)) {
  test(`${variant.label}: the session ends at the limit, and never looks whole`, async () => {
    const { client, server } = await openSession(variant, backend);
    server.write(Buffer.alloc(10_000_000));
    const { data, alerts } = await client.outcome();
    assert.equal(alerts, [alert.internalError]);
    assert.ok(data.length < (50 + 16) * 16_384 + 16_384, `${data.length} bytes`);
    assert.is(await server.end, 'reset');
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'no_rekey');
  });
}

for (const variant of tls13.filter(({ rekeys }) => !rekeys.rx || !rekeys.tx)) {
  test(`${variant.label}: a client whose keys have sealed 50 records is asked nothing`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 120; i++) client.sendData('x');
    await server.read(120);
    server.finish('answer');
    assert.is((await client.outcome()).data, 'answer');
    assert.equal(client.keyUpdates, []);
    client.peer.reset();
  });
}

for (const variant of tls13.filter(({ rekeys }) => rekeys.rx && rekeys.tx)) {
  test(`${variant.label}: the proxy's keys change every 50 records and the stream is whole`, async () => {
    const { client, server } = await openSession(variant, backend);
    const all = new KnownStream(3).next(10_000_000);
    server.write(all);
    assert.ok((await client.readData(all.length)).equals(all));
    // Looked at once a batch, which has up to 16 records.
    assert.ok(
      client.keyUpdates.length >= Math.floor(all.length / 16_384 / (50 + 16)),
      `${client.keyUpdates.length} KeyUpdates`,
    );
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: a client's keys that have sealed 50 records are asked to change, once`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 120; i++) client.sendData('x');
    await server.read(120);
    await client.keyUpdatesReceived(1);
    assert.equal(client.keyUpdates, [1]);
    client.sendKeyUpdate(0);
    client.sendData('new');
    assert.is((await server.read(3)).toString(), 'new');
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: a client that answers every request keeps its session`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let request = 1; request <= 5; request++) {
      for (let i = 0; i < 120; i++) client.send(contentType.data, 'a');
      await server.read(120);
      // It comes at the end of a turn, which lasts as long as there is more to read.
      await client.keyUpdatesReceived(request);
      assert.is(client.keyUpdates[request - 1], 1);
      client.sendKeyUpdate(0);
    }
    client.sendData('still');
    assert.is((await server.read(5)).toString(), 'still');
    client.peer.reset();
    await server.end;
  });
}

for (const variant of all.filter(({ version }) => version === '1.2')) {
  test(`${variant.label}: has no KeyUpdate and goes on`, async () => {
    const { client, server } = await openSession(variant, backend);
    const all = new KnownStream(4).next(3_000_000);
    server.write(all);
    assert.ok((await client.readData(all.length)).equals(all));
    client.peer.reset();
    await server.end;
  });
}
