// SPDX-License-Identifier: MIT
// RFC 7301: the server's order counts; no common protocol is a fatal alert; who offers nothing gets nothing.
// Not in the kernel lab: it is about the handshake, which ends before any record engine begins.
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { handshakeFailure, only, tlsConnect } from '../helpers/tls-client.ts';
import { alert } from '../helpers/tls-records.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startEcho();
const listeners = [
  { name: 'with', backend: backend.address, tls: { alpn: ['h2', 'http/1.1'] } },
  { name: 'without', backend: backend.address },
];

for (const { proxy, version, label } of await variants({ listeners })) {
  const chosen = async (port: number | undefined, offer: string[] | undefined): Promise<unknown> => {
    const { socket } = await tlsConnect({
      port: port ?? 0,
      ...only(version),
      ...(offer ? { ALPNProtocols: offer } : {}),
    });
    const line = await proxy.log.waitFor({ event: 'auth', client_port: socket.localPort ?? 0 });
    assert.is(line.alpn, socket.alpnProtocol || '');
    socket.destroy();
    return socket.alpnProtocol;
  };

  test(`${label}: the first of ours that the client offers`, async () => {
    assert.is(await chosen(proxy.port, ['http/1.1', 'h2']), 'h2');
    assert.is(await chosen(proxy.port, ['spdy/1', 'http/1.1']), 'http/1.1');
  });
  test(`${label}: none offered, none chosen`, async () => {
    assert.is(await chosen(proxy.port, undefined), false);
  });
  test(`${label}: none in common is no_application_protocol`, async () => {
    assert.is(
      await handshakeFailure({ port: proxy.port, ...only(version), ALPNProtocols: ['imap'] }),
      alert.noApplicationProtocol,
    );
  });
  test(`${label}: a listener without ALPN ignores the offer`, async () => {
    assert.is(await chosen(proxy.ports[1], ['h2']), false);
  });
}
