// SPDX-License-Identifier: MIT
// RFC 8446 section 4.6.3. An answer must not wait for data, several requests may share one, and a storm is bounded. With an engine
// that can't change its keys (the kernel's before Linux 6.14) the session ends and says why.
import * as assert from 'uvu/assert';
import { push, startBackend } from '../helpers/backends.ts';
import { isAsleep } from '../helpers/processes.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType, suites } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] }, ['1.3'])) {
  const { rekeys } = variant;
  /** What may be asked of us. */
  const request = rekeys.tx ? 1 : 0;

  test(`${variant.label}: behind close_notify it is ignored`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendAlert(alert.closeNotify);
    client.sendKeyUpdate(1);
    assert.is(await server.end, 'fin');
    server.finish('answer');
    assert.is((await client.outcome()).data, 'answer');
    client.peer.reset();
  });

  for (const asks of [0, 1]) {
    if (rekeys.rx && (rekeys.tx || asks === 0)) continue;
    test(`${variant.label}: KeyUpdate(${asks}) is internal_error, what came before it is delivered`, async () => {
      const { client, server } = await openSession(variant, backend);
      client.sendData('before');
      assert.is((await server.read(6)).toString(), 'before');
      client.sendKeyUpdate(asks);
      assert.equal(await client.outcome(), { data: '', alerts: [alert.internalError], end: 'fin' });
      assert.is(await server.end, 'reset');
      assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'no_rekey');
    });
  }
  if (!rekeys.rx) continue;

  for (const suite of suites.filter((each) => each.version === '1.3')) {
    test(`${variant.label}, ${suite.name}: without a request, both directions go on`, async () => {
      const { client, server } = await openSession(variant, backend, { suite });
      client.sendKeyUpdate(0);
      client.sendData('new keys');
      assert.is((await server.read(8)).toString(), 'new keys');
      server.finish('old keys');
      assert.equal((await client.outcome()).data, 'old keys');
      assert.equal(client.keyUpdates, []);
      client.peer.reset();
    });

    if (!rekeys.tx) continue;
    test(`${variant.label}, ${suite.name}: a request is answered without any data to send`, async () => {
      const { client, server } = await openSession(variant, backend, { suite });
      client.sendKeyUpdate(1);
      await client.keyUpdatesReceived(1);
      assert.equal(client.keyUpdates, [0]);
      server.write('new keys');
      assert.is((await client.readData(8)).toString(), 'new keys');
      client.sendData('and mine');
      assert.is((await server.read(8)).toString(), 'and mine');
      client.peer.reset();
    });
  }

  test(`${variant.label}: hundreds of generations with data between, both ways`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 300; i++) {
      client.sendKeyUpdate(i % 2 === 0 ? 0 : request);
      client.sendData(`${i};`);
    }
    const text = Array.from({ length: 300 }, (_, i) => `${i};`).join('');
    assert.is((await server.read(text.length)).toString(), text);
    server.finish('still here');
    assert.is((await client.outcome()).data, 'still here');
    assert.is(client.keyUpdates.length > 0, rekeys.tx);
    client.peer.reset();
  });

  test(`${variant.label}: 32 in a row pass, requests answered with at least one`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 32; i++) client.sendKeyUpdate(request);
    client.sendData('alive');
    assert.is((await server.read(5)).toString(), 'alive');
    await client.keyUpdatesReceived(request);
    server.finish('me too');
    assert.is((await client.outcome()).data, 'me too');
    client.peer.reset();
  });

  test(`${variant.label}: the 33rd in a row is unexpected_message`, async () => {
    const { client, server } = await openSession(variant, backend);
    for (let i = 0; i < 33; i++) client.sendKeyUpdate(0);
    assert.equal(await client.outcome(), { data: '', alerts: [alert.unexpectedMessage], end: 'fin' });
    assert.is(await server.end, 'reset');
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'protocol_fault');
  });

  test(`${variant.label}: in one segment with data before and behind`, async () => {
    const { client, server } = await openSession(variant, backend);
    const parts = [
      client.seal(contentType.data, 'old '),
      client.sealKeyUpdate(request),
      client.seal(contentType.data, 'new'),
    ];
    client.peer.write(Buffer.concat(parts));
    assert.is((await server.read(7)).toString(), 'old new');
    await client.keyUpdatesReceived(request);
    client.peer.reset();
  });

  if (!rekeys.tx) continue;
  test(`${variant.label}: requests to a client that does not read pile up no answers`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.peer.socket.pause();
    let sent = 0;
    const next = (): Buffer => {
      sent += 1 << 16;
      return Buffer.alloc(1 << 16);
    };
    // Stuck is what does not move though the worker has nothing to do.
    do await push(server.socket, next);
    while (!isAsleep(variant.proxy.workerPid()));
    for (let i = 0; i < 2000; i++) {
      client.sendKeyUpdate(1);
      client.sendData('.');
    }
    await server.read(2000);
    client.peer.socket.resume();
    server.finish();
    assert.is((await client.outcome()).data.length, sent);
    assert.ok(client.keyUpdates.length >= 1);
    assert.ok(client.keyUpdates.length < 200, `${client.keyUpdates.length} answers`);
    client.peer.reset();
  });
}
