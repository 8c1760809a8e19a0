// SPDX-License-Identifier: MIT
// close_notify or an alert to the client, RST to the backend. Bytes in either direction start the time again.
// In the kernel lab on the newest alone: timers are our own.
// In the kernel lab never one direction alone: who ends a session by a timer does not read.

import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { alert } from '../helpers/tls-records.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startBackend();
/** Milliseconds; bytes that come every `pause` keep a session. */
const timeout = 550 + 50 * timeFactor;
const pause = (timeout * 2) / 3;
const listeners = [
  { name: 'idle', backend: backend.address, timeouts: { idle: `${timeout}ms` } },
  { name: 'half', backend: backend.address, timeouts: { half_closed: `${timeout}ms`, idle: '1h' } },
];

// They wait most of the time, and where that counts three engines are enough: the timers are the session's, not TLS's.
const some = timeFactor > 1 ? (['1.3'] as const) : undefined;

for (const { proxy, version, label } of await variants({ listeners }, some)) {
  test(`${label}: an idle session`, async () => {
    const client = await RawTlsClient.connect({ port: proxy.port, version });
    const server = await backend.next();
    const started = performance.now();
    assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    assert.ok(performance.now() - started > timeout * 0.8, 'not before its time');
    assert.is(await server.end, 'reset');
    assert.is((await proxy.sessionEnd(client.port)).reason, 'idle_timeout');
  });

  test(`${label}: bytes keep a session, whoever sends them`, async () => {
    const client = await RawTlsClient.connect({ port: proxy.port, version });
    const server = await backend.next();
    const started = performance.now();
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (i % 2 === 0) client.sendData('x');
      else server.write('y');
      if (i % 2 === 0) await server.read(1);
      else await client.readData(1);
    }
    assert.ok(performance.now() - started > timeout * 1.8);
    assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    assert.is((await proxy.sessionEnd(client.port)).reason, 'idle_timeout');
  });

  test(`${label}: a backend that never answers a half-closed client`, async () => {
    const client = await RawTlsClient.connect({ port: proxy.ports[1] ?? 0, version });
    const server = await backend.next();
    client.sendAlert(alert.closeNotify);
    assert.is(await server.end, 'fin');
    // Not close_notify: an answer that never came must not look whole.
    assert.equal(await client.outcome(), { data: '', alerts: [alert.internalError], end: 'fin' });
    assert.is((await proxy.sessionEnd(client.port)).reason, 'half_closed_timeout');
  });

  test(`${label}: a half-closed session lives on while the answer flows`, async () => {
    const client = await RawTlsClient.connect({ port: proxy.ports[1] ?? 0, version });
    const server = await backend.next();
    client.sendAlert(alert.closeNotify);
    assert.is(await server.end, 'fin');
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      server.write('tick');
      assert.is((await client.readData(4)).toString(), 'tick');
    }
    server.finish();
    assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    assert.is((await proxy.sessionEnd(client.port)).reason, 'closed');
  });

  test(`${label}: a client that never closes after the backend's FIN`, async () => {
    const client = await RawTlsClient.connect({ port: proxy.ports[1] ?? 0, version });
    const server = await backend.next();
    server.finish('bye');
    assert.equal(await client.outcome({ stay: true }), { data: 'bye', alerts: [alert.closeNotify], end: 'fin' });
    assert.is(await server.end, 'reset');
    assert.is((await proxy.sessionEnd(client.port)).reason, 'half_closed_timeout');
  });
}
