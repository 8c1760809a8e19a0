// SPDX-License-Identifier: MIT
// Sizes, padding, empty records, and cuts between segments never show in the stream.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  test(`${variant.label}: records of every size, many in a segment`, async () => {
    const { client, server } = await openSession(variant, backend);
    const sizes = [1, 2, 15, 16, 17, 255, 256, 1000, 4095, 4096, 4097, 8192, 16_383, 16_384, 1, 16_384, 3];
    const stream = new KnownStream(1);
    const parts = sizes.map((size) => stream.next(size));
    client.peer.write(Buffer.concat(parts.map((part) => client.seal(contentType.data, part))));
    const all = Buffer.concat(parts);
    assert.ok((await server.read(all.length)).equals(all));
    server.write(all);
    assert.ok((await client.readData(all.length)).equals(all));
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: records byte by byte`, async () => {
    const { client, server } = await openSession(variant, backend);
    const bytes = Buffer.concat([
      client.seal(contentType.data, 'slowly '),
      client.seal(contentType.data, 'but surely'),
    ]);
    for (const byte of bytes) {
      await new Promise<void>((resolve) => client.peer.socket.write(Buffer.from([byte]), () => resolve()));
      await new Promise(setImmediate);
    }
    assert.is((await server.read(17)).toString(), 'slowly but surely');
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: segments that end inside a header or a record`, async () => {
    const { client, server } = await openSession(variant, backend);
    const stream = new KnownStream(2);
    const all = stream.next(300_000);
    const wire = Buffer.concat(
      Array.from({ length: 60 }, (_, i) => client.seal(contentType.data, all.subarray(i * 5000, i * 5000 + 5000))),
    );
    for (let at = 0, step = 1; at < wire.length; at += step, step = (step * 7 + 3) % 9001) {
      await new Promise<void>((resolve) => client.peer.socket.write(wire.subarray(at, at + step), () => resolve()));
    }
    assert.ok((await server.read(all.length)).equals(all));
    client.peer.reset();
    await server.end;
  });

  test(`${variant.label}: 32 empty records in a row are no end of the stream`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 32; i++) client.sendData('');
      client.sendData('data');
      assert.is((await server.read(4)).toString(), 'data');
    }
    assert.is(server.ending, undefined);
    client.peer.reset();
    await server.end;
  });

  // The kernel swallows all that have come, without a word; how many they were is seen when more come.
  const swallowed = variant.rx === 'kernel';
  test(`${variant.label}: ${swallowed ? 'a flood of them' : 'the 33rd'} is unexpected_message`, async (t) => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 33; i++) client.sendData('');
    const more = setInterval(() => swallowed && client.sendData(''), 5);
    t.after(() => clearInterval(more));
    assert.equal(await client.outcome({ stay: true }), { data: '', alerts: [alert.unexpectedMessage], end: 'fin' });
    clearInterval(more);
    client.peer.finish();
    assert.is(await server.end, 'reset');
  });

  if (variant.version === '1.2') continue;
  test(`${variant.label}: padding of every size is taken off`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (const padding of [1, 15, 16, 255, 4096, 16_000, 16_383]) {
      client.sendData('x', { padding });
      assert.is((await server.read(1)).toString(), 'x');
    }
    client.sendData(Buffer.alloc(10_000, 0), { padding: 6384 });
    assert.ok((await server.read(10_000)).equals(Buffer.alloc(10_000)), 'zeros of the content are no padding');
    client.send(contentType.alert, Buffer.from([1, alert.closeNotify]), { padding: 100 });
    assert.is(await server.end, 'fin');
    server.finish();
    assert.equal((await client.outcome()).alerts, [alert.closeNotify]);
  });
}
