// SPDX-License-Identifier: MIT
// CR, LF, quotes, escape sequences and bytes that are no UTF-8 in the SNI end neither a field nor a line, and no terminal obeys them.
// Not in the kernel lab: it is about the handshake and the log.
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { derOf, ecdsa, other } from '../helpers/certificates.ts';
import { clientHello } from '../helpers/client-hello.ts';
import { test } from '../helpers/suite.ts';
import { exchangeRaw, only, tlsConnect } from '../helpers/tls-client.ts';
import { sharedProxy } from '../helpers/variants.ts';

const backend = await startEcho();
const proxy = await sharedProxy({ listeners: [{ backend: backend.address, certificates: [ecdsa, other] }] });

const names: readonly string[] = [
  'evil" level=fatal event=startup x="',
  'a b c=d',
  'line\nlevel=fatal event=startup',
  'line\r\nlevel=fatal event=startup\n',
  '\x1b[2J\x1b]0;title\x07',
  'back\\slash\\',
  '\x7f\x01\x1f',
  '127.0.0.1',
  'x'.repeat(255),
  '.',
  '*.wild.test',
  '%s%n%d',
];

for (const name of names) {
  test(`a session with the name ${JSON.stringify(name.slice(0, 40))}`, async () => {
    // Refusing the name is as good as serving it.
    const connected = await tlsConnect({ port: proxy.port, servername: name }).catch(() => undefined);
    if (connected === undefined) return;
    const line = await proxy.log.waitFor({ event: 'auth', client_port: connected.socket.localPort ?? 0 });
    assert.is(line.sni, name);
    connected.socket.destroy();
  });
}

const raw: readonly [string, Buffer][] = [
  ['NUL inside', Buffer.from('other.test\0.example')],
  ['NUL at its end', Buffer.from('other.test\0')],
  ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe, 0xc0, 0x80, 0x22, 0x0a])],
  ['nothing in it', Buffer.alloc(0)],
  ['300 bytes', Buffer.alloc(300, 'x')],
  ['60,000 bytes', Buffer.alloc(60_000, 'x')],
];

/** internal_error: behind a hello it ends the handshake once that has been answered. */
const fatal = Buffer.from([21, 3, 3, 0, 2, 2, 80]);

for (const [what, sni] of raw) {
  for (const version of ['1.2', '1.3'] as const) {
    test(`TLS ${version}: a name with ${what} gets an alert or the first certificate`, async () => {
      const { data } = await exchangeRaw(proxy.port, Buffer.concat([clientHello({ version, sni }), fatal]));
      assert.ok([21, 22].includes(data[0] ?? 0));
      if (version === '1.2' && data[0] === 22) {
        assert.ok(data.includes(derOf(ecdsa)));
        assert.not.ok(data.includes(derOf(other)));
      }
    });
  }
}

test('no line was torn or forged', async () => {
  const { socket } = await tlsConnect({ port: proxy.port, ...only('1.3') });
  await proxy.log.waitFor({ event: 'auth', client_port: socket.localPort ?? 0 });
  socket.destroy();
  assert.equal(proxy.log.strange, []);
  assert.equal(proxy.log.all({ level: /fatal|error/ }), []);
  assert.is(proxy.log.all({ event: 'startup' }).length, proxy.log.all({ event: 'startup', argv: /./ }).length);
});
