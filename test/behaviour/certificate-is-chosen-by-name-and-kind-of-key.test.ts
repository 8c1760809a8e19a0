// SPDX-License-Identifier: MIT
// Names are matched as RFC 6125 says: without regard to case, a wildcard stands for one label. Nothing fits: the first certificate.
// Not in the kernel lab: it is about the handshake, which ends before any record engine begins.
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { chain, derOf, ecdsa, other, rootCa, rsa, type TestCertificate } from '../helpers/certificates.ts';
import { test } from '../helpers/suite.ts';
import { only, type TlsOptions, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startEcho();
const listeners = [
  { name: 'both', backend: backend.address, certificates: [ecdsa, rsa, other, chain] },
  { name: 'rsa-first', backend: backend.address, certificates: [rsa, ecdsa] },
];
const kinds = { ecdsa: 'ECDSA+SHA256', rsa: 'RSA-PSS+SHA256:RSA+SHA256' };

for (const { proxy, version, label } of await variants({ listeners })) {
  const expect = async (options: TlsOptions, certificate: TestCertificate): Promise<void> => {
    const { socket } = await tlsConnect({ port: proxy.port, ...only(version), ...options });
    assert.ok(
      socket.getPeerCertificate().raw.equals(derOf(certificate)),
      socket.getPeerCertificate().subject.CN as string,
    );
    socket.destroy();
  };

  test(`${label}: ECDSA and RSA side by side, by what the client can verify`, async () => {
    await expect({ sigalgs: kinds.ecdsa }, ecdsa);
    await expect({ sigalgs: kinds.rsa }, rsa);
    await expect({ sigalgs: kinds.rsa, port: proxy.ports[1] ?? 0 }, rsa);
    await expect({ sigalgs: kinds.ecdsa, port: proxy.ports[1] ?? 0 }, ecdsa);
  });

  test(`${label}: by name`, async () => {
    await expect({ servername: 'localhost' }, ecdsa);
    await expect({ servername: 'other.test' }, other);
    await expect({ servername: 'OTHER.Test' }, other);
    await expect({ servername: 'chain.test' }, chain);
  });

  test(`${label}: by wildcard, one label deep`, async () => {
    await expect({ servername: 'a.wild.test' }, other);
    await expect({ servername: 'A-1.WILD.test' }, other);
    await expect({ servername: 'a.b.wild.test' }, ecdsa);
    await expect({ servername: 'wild.test' }, ecdsa);
  });

  test(`${label}: the first one where no name fits or none was sent`, async () => {
    await expect({ servername: 'unknown.example' }, ecdsa);
    await expect({ servername: '' }, ecdsa);
    await expect({ servername: 'x'.repeat(250) }, ecdsa);
  });

  test(`${label}: the intermediate comes with its leaf, and a client that knows the root is content`, async () => {
    const options = { servername: 'chain.test', rejectUnauthorized: true, ca: readFileSync(rootCa) };
    const { socket } = await tlsConnect({ port: proxy.port, ...only(version), ...options });
    assert.ok(socket.authorized);
    socket.destroy();
  });
}
