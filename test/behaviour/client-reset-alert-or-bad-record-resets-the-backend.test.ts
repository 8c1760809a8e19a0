// SPDX-License-Identifier: MIT
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import type { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

const backend = await startBackend();
const causes: readonly [string, string, (client: RawTlsClient) => void][] = [
  ['RST', 'client_reset', (client) => client.peer.reset()],
  ['a fatal alert', 'client_alert', (client) => client.sendAlert(alert.internalError)],
  ['a bad record', 'protocol_fault', (client) => client.sendData('bad', { flip: true })],
];

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  for (const [what, reason, cause] of causes) {
    test(`${variant.label}: ${what} after data`, async () => {
      const { client, server } = await openSession(variant, backend);
      client.sendData('upload');
      assert.is((await server.read(6)).toString(), 'upload');
      cause(client);
      assert.is(await server.end, 'reset');
      client.peer.finish();
      const line = await variant.proxy.sessionEnd(client.port);
      assert.is(line.reason, reason);
      assert.is(line.level, 'info', 'a fault of a peer is no error of ours');
    });

    test(`${variant.label}: ${what} while the backend waits to send`, async () => {
      const { client, server } = await openSession(variant, backend);
      client.peer.socket.pause();
      server.write(Buffer.alloc(8 << 20));
      client.sendData('x');
      await server.read(1);
      cause(client);
      assert.is(await server.end, 'reset');
      client.peer.reset();
      assert.is((await variant.proxy.sessionEnd(client.port)).reason, reason);
    });
  }

  // The service's half_closed is a minute.
  test(`${variant.label}: RST behind its close_notify and FIN, while the backend thinks`, async () => {
    const { client, server } = await openSession(variant, backend);
    client.sendAlert(alert.closeNotify);
    client.peer.finish();
    assert.is(await server.end, 'fin');
    client.peer.reset();
    assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'client_reset');
    // Past the FIN only a write tells the reset, and the first may be faster than it.
    while (server.socket.errored === null) {
      server.write('answer');
      await new Promise(setImmediate);
    }
    assert.match(server.socket.errored.message, /EPIPE|ECONNRESET/);
  });
}
