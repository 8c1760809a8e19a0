// SPDX-License-Identifier: MIT
// Refused, never answering, gone at once: the client sees RST, never a clean end, and the next client is served.
// In the kernel lab on the newest alone: it is the backend's socket that fails, which has no TLS.
// In the kernel lab never one direction alone: no byte has gone either way.

import * as assert from 'uvu/assert';
import { startBackend, startBlackHole } from '../helpers/backends.ts';
import { freePort } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { variants } from '../helpers/variants.ts';

const good = await startBackend();
const rude = await startBackend({ onConnection: (peer) => peer.reset() });
const hole = await startBlackHole();
const listeners = [
  { name: 'good', backend: good.address },
  { name: 'refused', backend: `127.0.0.1:${await freePort()}` },
  { name: 'hole', backend: hole, timeouts: { connect: '700ms' } },
  { name: 'rude', backend: rude.address },
  { name: 'no-socket', backend: 'unix:/nonexistent/backend' },
  { name: 'deep-hole', backend: hole },
  { name: 'unknown-name', backend: 'nobody.invalid:80', timeouts: { connect: '1s' } },
];

// Who waits for this deadline instead of its own is not done in the test's time.
const config = { timeouts: { connect: '10m' } };

for (const variant of await variants({ listeners, config })) {
  const { proxy, version, label } = variant;
  const [goodPort = 0, refused = 0, holePort = 0, rudePort = 0, noSocket = 0, deepHole = 0, unknown = 0] = proxy.ports;

  const fails = async (port: number, reason: RegExp): Promise<number> => {
    const started = performance.now();
    const client = await RawTlsClient.connect({ port, version });
    const outcome = await client.outcome();
    assert.not(outcome.alerts.includes(alert.closeNotify), 'no clean end');
    assert.is(outcome.data, '');
    const line = await proxy.sessionEnd(client.port);
    assert.match(line.reason ?? '', reason, JSON.stringify(line));
    client.peer.reset();
    return performance.now() - started;
  };

  test(`${label}: refused`, async () => {
    await fails(refused, /backend_failed/);
  });
  test(`${label}: a black hole ends at connect_timeout`, async () => {
    const ms = await fails(holePort, /connect_timeout/);
    assert.ok(ms > 600, `${ms}`);
  });
  test(`${label}: reset right after connecting`, async () => {
    await fails(rudePort, /backend_reset|backend_failed/);
  });
  test(`${label}: a unix socket that is not there`, async () => {
    await fails(noSocket, /backend_failed/);
  });
  test(`${label}: a name that does not resolve`, async () => {
    await fails(unknown, /backend_failed|connect_timeout/);
  });

  test(`${label}: a client that leaves while its backend is dialled`, async () => {
    const client = await RawTlsClient.connect({ port: holePort, version });
    client.sendData('nobody reads this');
    // A reset that overtakes its Finished would leave no session.
    await proxy.log.waitFor({ event: 'auth', outcome: 'granted', client_port: client.port });
    client.peer.reset();
    const line = await proxy.sessionEnd(client.port);
    assert.match(line.reason ?? '', /client_reset|connect_timeout/);
  });

  test(`${label}: what the client sends while its backend is dialled is bounded`, async () => {
    const client = await RawTlsClient.connect({ port: holePort, version });
    for (let i = 0; i < 500; i++) client.sendData(Buffer.alloc(16_384));
    await client.peer.end;
    client.peer.reset();
    const line = await proxy.sessionEnd(client.port);
    assert.is(line.reason, 'connect_timeout');
    assert.ok(Number(line.bytes_from_client) < 1 << 20, line.bytes_from_client);
  });

  test(`${label}: others are served all the time`, async () => {
    const waiting = await Promise.all(
      Array.from({ length: 20 }, () => RawTlsClient.connect({ port: deepHole, version })),
    );
    const client = await RawTlsClient.connect({ port: goodPort, version });
    const server = await good.next();
    server.finish('served');
    assert.is((await client.outcome()).data, 'served');
    assert.is(waiting.filter(({ peer }) => peer.ending !== undefined).length, 0, 'they still wait');
    for (const each of [client, ...waiting]) each.peer.reset();
  });

  test(`${label}: a peer's failure is a warning at most`, () => {
    assert.equal(proxy.log.all({ level: /fatal|error/ }), []);
  });
}
