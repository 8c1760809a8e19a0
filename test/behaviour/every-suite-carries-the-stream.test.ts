// SPDX-License-Identifier: MIT
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { ecdsa, rsa } from '../helpers/certificates.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { handshakeFailure, only } from '../helpers/tls-client.ts';
import { alert, contentType, suites, suitesOnRequest } from '../helpers/tls-records.ts';
import { proxies } from '../helpers/variants.ts';

const backend = await startBackend();
const few = ['TLS_CHACHA20_POLY1305_SHA256', 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'];
const listeners = [
  { name: 'default', backend: backend.address, certificates: [ecdsa, rsa] },
  { name: 'ccm', backend: backend.address, tls: { ciphers: suitesOnRequest.map((suite) => suite.name) } },
  { name: 'few', backend: backend.address, certificates: [ecdsa, rsa], tls: { ciphers: few } },
];

for (const { engine, proxy } of await proxies({ listeners })) {
  const [all = 0, ccm = 0, restricted = 0] = proxy.ports;

  for (const suite of [...suites, ...suitesOnRequest]) {
    test(`${engine.label}, ${suite.name}: both ways, in records of all sizes`, async () => {
      const client = await RawTlsClient.connect({ port: suites.includes(suite) ? all : ccm, suite });
      assert.is(client.suite.name, suite.name);
      const server = await backend.next();
      const stream = new KnownStream(7).next(1_500_000);
      for (
        let at = 0, size = 1;
        at < stream.length;
        at += size, size = Math.min((size * 3) % 16_385 || 1, stream.length - at)
      ) {
        client.send(contentType.data, stream.subarray(at, at + size));
      }
      assert.ok((await server.read(stream.length)).equals(stream), 'client to backend');
      server.write(stream);
      assert.ok((await client.readData(stream.length)).equals(stream), 'backend to client');
      client.sendAlert(alert.closeNotify);
      assert.is(await server.end, 'fin');
      server.finish();
      assert.equal((await client.outcome()).alerts, [alert.closeNotify]);
      assert.is((await proxy.sessionEnd(client.port)).ciphersuite, suite.name);
    });

    if (!suites.includes(suite)) continue;
    test(`${engine.label}, ${suite.name}: ${few.includes(suite.name) ? 'is spoken' : 'is refused'} where only two suites are configured`, async () => {
      if (few.includes(suite.name)) {
        const client = await RawTlsClient.connect({ port: restricted, suite });
        // A reset that overtakes the server's last flight would leave no session.
        const server = await backend.next();
        client.peer.reset();
        await server.end;
      } else {
        const failure = await handshakeFailure({ port: restricted, ...only(suite.version), ciphers: suite.openssl });
        assert.is(failure, alert.handshakeFailure);
      }
    });
  }

  test(`${engine.label}: AES-CCM, CBC, RSA key exchange and finite-field DH are not spoken by default`, async () => {
    for (const ciphers of [
      'ECDHE-ECDSA-AES128-CCM',
      'ECDHE-ECDSA-AES128-SHA256',
      'AES128-GCM-SHA256',
      'DHE-RSA-AES128-GCM-SHA256',
    ]) {
      const failure = await handshakeFailure({ port: all, ...only('1.2'), ciphers: `${ciphers}:@SECLEVEL=0` });
      assert.is(failure, alert.handshakeFailure, ciphers);
    }
    assert.is(
      await handshakeFailure({ port: all, ...only('1.3'), ciphers: 'TLS_AES_128_CCM_SHA256' }),
      alert.handshakeFailure,
    );
  });
}
