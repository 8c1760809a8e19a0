// SPDX-License-Identifier: MIT
// Not in the kernel lab: no session gets as far as its record engine.
import { randomBytes } from 'node:crypto';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { clientHello, records } from '../helpers/client-hello.ts';
import { test } from '../helpers/suite.ts';
import { exchangeRaw, tlsConnect } from '../helpers/tls-client.ts';
import { sharedProxy } from '../helpers/variants.ts';

const backend = await startEcho();
const listeners = [
  { name: 'garbage', backend: backend.address, timeouts: { handshake: '2s' } },
  { name: 'good', backend: backend.address },
];
const proxy = await sharedProxy({ listeners });
const hello = clientHello({ sni: Buffer.from('localhost') });

const garbage: readonly [string, Buffer][] = [
  ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
  ['an HTTP CONNECT', Buffer.from('CONNECT localhost:443 HTTP/1.1\r\n\r\n')],
  ['an SSLv2 hello', Buffer.from('802e0100020015000000100100800200800300800400800500800600400700c0', 'hex')],
  ['a record that is too long', Buffer.from([22, 3, 1, 0xff, 0xff, 1, 0, 0, 1])],
  ['empty records', Buffer.alloc(5 * 100, Buffer.from([22, 3, 1, 0, 0]))],
  ['application data', Buffer.concat([Buffer.from([23, 3, 3, 0, 100]), randomBytes(100)])],
  ['an alert', Buffer.from([21, 3, 1, 0, 2, 2, 40])],
  ['ChangeCipherSpec', Buffer.from([20, 3, 1, 0, 1, 1])],
  ['a ServerHello', records(Buffer.concat([Buffer.from([2, 0, 0, 40]), Buffer.alloc(40)]), 1000)],
  [
    'a handshake message of 16 MiB',
    records(Buffer.concat([Buffer.from([1, 0xff, 0xff, 0xff]), Buffer.alloc(16_380)]), 16_384),
  ],
  ['a ClientHello of 140 KiB', clientHello({ filler: 140_000 })],
  ['a ClientHello with wrong lengths', Buffer.concat([hello.subarray(0, 60), randomBytes(hello.length - 60)])],
  ['a ClientHello and then application data', Buffer.concat([hello, Buffer.from([23, 3, 3, 0, 64]), randomBytes(64)])],
  ['a ClientHello twice', Buffer.concat([hello, hello])],
  ['a ClientHello and then HTTP', Buffer.concat([hello, Buffer.from('GET / HTTP/1.0\r\n\r\n')])],
  ['a PROXY header', Buffer.from('PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n')],
];

for (const [what, bytes] of garbage) {
  test(`${what} ends the connection`, async () => {
    const { data } = await exchangeRaw(proxy.port, bytes);
    // An alert record stands at the end, unless there was nothing to answer.
    const isTls = data.length === 0 || [21, 22].includes(data[0] ?? 0);
    assert.ok(isTls, data.toString('latin1'));
  });
}

test('random bytes, a hundred times', async () => {
  for (let i = 0; i < 100; i += 10) {
    const tries = Array.from({ length: 10 }, (_, j) => exchangeRaw(proxy.port, randomBytes(10 + 40 * i + j)));
    await Promise.all(tries);
  }
});

test('a good hello with one byte changed, wherever it is', async () => {
  const tries = Array.from({ length: hello.length }, (_, at) => {
    const changed = Buffer.from(hello);
    changed[at] = (changed[at] ?? 0) ^ (1 + (at % 255));
    // FIN follows, for those that are still a good ClientHello.
    return exchangeRaw(proxy.port, Buffer.concat([changed, Buffer.from([21, 3, 3, 0, 2, 2, 0])]));
  });
  await Promise.all(tries);
});

test('the backend saw nothing of it, and a good client is served', async () => {
  assert.is(backend.accepted(), 0);
  const { socket, peer } = await tlsConnect({ port: proxy.ports[1] ?? 0 });
  socket.write('fine');
  assert.is((await peer.read(4)).toString(), 'fine');
  socket.destroy();
  for (const line of proxy.log.all({ process_type: 'worker', level: /fatal|error|warn/ }))
    assert.unreachable(JSON.stringify(line));
});
