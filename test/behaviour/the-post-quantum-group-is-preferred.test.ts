// SPDX-License-Identifier: MIT
// Not in the kernel lab: it is about the handshake, which ends before any record engine begins.
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { only, type TlsOptions, tlsConnect } from '../helpers/tls-client.ts';
import { sharedProxy } from '../helpers/variants.ts';

const backend = await startEcho();
const proxy = await sharedProxy({ listeners: [{ backend: backend.address }] });

async function group(options: TlsOptions): Promise<string> {
  const { socket, peer } = await tlsConnect({ port: proxy.port, ...options });
  socket.write('works');
  assert.is((await peer.read(5)).toString(), 'works');
  const line = await proxy.log.waitFor({ event: 'auth', client_port: socket.localPort ?? 0 });
  socket.destroy();
  return line.group?.toUpperCase() ?? '';
}

test('X25519MLKEM768 with a client that has it', async () => {
  assert.is(await group({ ecdhCurve: 'X25519MLKEM768:X25519' }), 'X25519MLKEM768');
  assert.is(await group({}), 'X25519MLKEM768');
});
test('also when the client names it last and has to be asked for it', async () => {
  assert.is(await group({ ecdhCurve: 'X25519:X25519MLKEM768' }), 'X25519MLKEM768');
});
test('X25519 and the NIST curves with others', async () => {
  assert.is(await group({ ecdhCurve: 'X25519' }), 'X25519');
  assert.match(await group({ ecdhCurve: 'P-256' }), /P-?256|SECP256R1|PRIME256V1/);
  assert.match(await group({ ecdhCurve: 'P-384' }), /P-?384|SECP384R1/);
});
test('TLS 1.2 with its own', async () => {
  assert.is(await group({ ...only('1.2'), ecdhCurve: 'X25519:P-256' }), 'X25519');
});
