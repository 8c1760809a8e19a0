// SPDX-License-Identifier: MIT
// Not in the kernel lab: it is about the handshake, which ends before any record engine begins.
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { handshakeFailure, only, tlsConnect } from '../helpers/tls-client.ts';
import { alert } from '../helpers/tls-records.ts';
import { sharedProxy } from '../helpers/variants.ts';

const backend = await startEcho();
const proxy = await sharedProxy({
  listeners: [
    { name: 'default', backend: backend.address },
    { name: 'new', backend: backend.address, tls: { min_version: '1.3' } },
    { name: 'old', backend: backend.address, tls: { max_version: '1.2' } },
  ],
});
const [both = 0, onlyNew = 0, onlyOld = 0] = proxy.ports;

async function spoken(port: number, options = {}): Promise<string | null> {
  const { socket } = await tlsConnect({ port, ...options });
  const protocol = socket.getProtocol();
  socket.destroy();
  return protocol;
}

test('by default the newest, and TLS 1.2 for those who know no newer', async () => {
  assert.is(await spoken(both), 'TLSv1.3');
  assert.is(await spoken(both, only('1.2')), 'TLSv1.2');
});
test('min_version 1.3 refuses TLS 1.2 with protocol_version', async () => {
  assert.is(await spoken(onlyNew), 'TLSv1.3');
  assert.is(await handshakeFailure({ port: onlyNew, ...only('1.2') }), alert.protocolVersion);
});
test('max_version 1.2 refuses TLS 1.3 with protocol_version', async () => {
  assert.is(await spoken(onlyOld), 'TLSv1.2');
  assert.is(await handshakeFailure({ port: onlyOld, ...only('1.3') }), alert.protocolVersion);
});
test('TLS 1.1 and 1.0 are refused everywhere', async () => {
  for (const version of ['TLSv1.1', 'TLSv1'] as const) {
    for (const port of [both, onlyNew, onlyOld]) {
      const old = { minVersion: version, maxVersion: version, ciphers: 'ALL:@SECLEVEL=0' };
      assert.is(await handshakeFailure({ port, ...old }), alert.protocolVersion);
    }
  }
});
test('the log names the reason of a refused handshake, as a fault of the peer', async () => {
  const line = await proxy.log.waitFor({ event: 'auth', outcome: 'failed' });
  assert.is(line.level, 'info');
  assert.is.not(line.error_desc, undefined);
});
