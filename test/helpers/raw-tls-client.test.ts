// SPDX-License-Identifier: MIT
// The raw client against Node's own TLS server, so that a failing behaviour test is not the client's fault.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import * as assert from 'uvu/assert';
import { ecdsa, rsa, type TestCertificate } from './certificates.ts';
import { RawTlsClient } from './raw-tls-client.ts';
import { afterAll, test } from './suite.ts';
import { alert, contentType, suites, suitesOnRequest } from './tls-records.ts';

const suiteNames = [...suites, ...suitesOnRequest].map((suite) => suite.openssl).join(':');

async function echoServer(certificate: TestCertificate): Promise<{ port: number; connections: tls.TLSSocket[] }> {
  const connections: tls.TLSSocket[] = [];
  const pem = { cert: readFileSync(certificate.cert), key: readFileSync(certificate.key) };
  const server = tls.createServer({ ...pem, ciphers: suiteNames, allowHalfOpen: false }, (socket) => {
    connections.push(socket);
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterAll(() => server.close());
  return { port: (server.address() as AddressInfo).port, connections };
}
const ecdsaServer = await echoServer(ecdsa);
const rsaServer = await echoServer(rsa);

for (const suite of [...suites, ...suitesOnRequest]) {
  const { port } = suite.name.includes('_RSA_') ? rsaServer : ecdsaServer;

  test(`${suite.name}: data is echoed and close_notify answered`, async () => {
    const client = await RawTlsClient.connect({ port, suite });
    assert.is(client.suite.name, suite.name);
    client.sendData('first');
    client.sendData('second');
    assert.is((await client.readData(11)).toString(), 'firstsecond');
    client.sendAlert(alert.closeNotify);
    assert.equal(await client.outcome(), { data: '', alerts: [0], end: 'fin' });
    if (suite.version === '1.3') assert.ok(client.ticketsSeen > 0);
  });

  test(`${suite.name}: data glued to Finished`, async () => {
    const client = await RawTlsClient.connect({ port, suite, holdFinished: true });
    client.peer.write(Buffer.concat([client.heldFlight, client.seal(contentType.data, 'early bird')]));
    assert.is((await client.readData(10)).toString(), 'early bird');
    client.peer.reset();
  });

  test(`${suite.name}: a flipped bit is bad_record_mac`, async () => {
    const client = await RawTlsClient.connect({ port, suite });
    client.sendData('x', { flip: true });
    assert.equal((await client.read())?.content, Buffer.from([2, alert.badRecordMac]));
    client.peer.reset();
  });
}

test('KeyUpdate both ways', async () => {
  const client = await RawTlsClient.connect({ port: ecdsaServer.port });
  client.sendKeyUpdate(1);
  client.sendData('padded', { padding: 100 });
  assert.is((await client.readData(6)).toString(), 'padded');
  assert.equal(client.keyUpdates, [0]);
  assert.is(client.readKeys.generation, 1);
  client.sendData('more');
  assert.is((await client.readData(4)).toString(), 'more');
  client.peer.reset();
});

test('a handshake sent byte by byte', async () => {
  const client = await RawTlsClient.connect({ port: ecdsaServer.port, pieces: 1 });
  client.sendData('x');
  assert.is((await client.readData(1)).toString(), 'x');
  client.peer.reset();
});

test('a handshake with HelloRetryRequest', async () => {
  const client = await RawTlsClient.connect({ port: ecdsaServer.port, groups: 'secp521r1:P-256' });
  client.sendData('x');
  assert.is((await client.readData(1)).toString(), 'x');
  client.peer.reset();
});
