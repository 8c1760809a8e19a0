// SPDX-License-Identifier: MIT
// RFC 8446 sections 5 and 6.2, RFC 5246 sections 6.2 and 7.2.2. What came before a broken record is delivered, nothing of it or behind it is;
// the backend sees RST, the client the fatal alert and then FIN.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { keyUpdate, type RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType, type TlsVersion } from '../helpers/tls-records.ts';
import { openSession, variants } from '../helpers/variants.ts';

/** `kernel`: the alert where the kernel opens the records, which tells all that it can't open by one error. */
type Fault = readonly [what: string, expected: number, send: (client: RawTlsClient) => void, kernel?: number];

/** A record as it would stand on the wire without any sealing. */
function plain(type: number, content: Buffer, version = 0x0303): Buffer {
  const header = Buffer.from([type, version >> 8, version & 0xff, content.length >> 8, content.length & 0xff]);
  return Buffer.concat([header, content]);
}
const handshake = (type: number, length = 8): Buffer =>
  Buffer.concat([Buffer.from([type, 0, 0, length]), Buffer.alloc(length)]);

const both: readonly Fault[] = [
  ['a flipped bit', alert.badRecordMac, (c) => c.sendData('x', { flip: true })],
  [
    'a record replayed',
    alert.badRecordMac,
    (c) => {
      const record = c.seal(contentType.data, 'once');
      c.peer.write(Buffer.concat([record, record]));
    },
  ],
  [
    'a record left out',
    alert.badRecordMac,
    (c) => {
      c.seal(contentType.data, 'never sent');
      c.sendData('x');
    },
  ],
  [
    'records in the wrong order',
    alert.badRecordMac,
    (c) => {
      const first = c.seal(contentType.data, '1');
      c.peer.write(Buffer.concat([c.seal(contentType.data, '2'), first]));
    },
  ],
  ['plaintext', alert.badRecordMac, (c) => c.peer.write(plain(contentType.data, Buffer.alloc(64)))],
  [
    'a record too short to be sealed',
    alert.badRecordMac,
    (c) => c.peer.write(plain(contentType.data, Buffer.alloc(5))),
  ],
  [
    'a header that promises far too much',
    alert.recordOverflow,
    (c) => c.peer.write(Buffer.from([23, 3, 3, 0xff, 0xff])),
  ],
  ['one byte of data too many', alert.recordOverflow, (c) => c.sendData(Buffer.alloc(16_385))],
  ['an empty alert', alert.unexpectedMessage, (c) => c.send(contentType.alert, '')],
  ['an empty handshake record', alert.unexpectedMessage, (c) => c.send(contentType.handshake, '')],
  ['heartbeat', alert.unexpectedMessage, (c) => c.send(contentType.heartbeat, Buffer.from([1, 0, 0]))],
  ['ChangeCipherSpec, sealed', alert.unexpectedMessage, (c) => c.send(contentType.changeCipherSpec, Buffer.from([1]))],
  ['Finished again', alert.unexpectedMessage, (c) => c.send(contentType.handshake, handshake(20, 32))],
  ['NewSessionTicket', alert.unexpectedMessage, (c) => c.send(contentType.handshake, handshake(4))],
  ['Certificate', alert.unexpectedMessage, (c) => c.send(contentType.handshake, handshake(11))],
  ['an unknown handshake message', alert.unexpectedMessage, (c) => c.send(contentType.handshake, handshake(99))],
];

const faults: Readonly<Record<TlsVersion, readonly Fault[]>> = {
  '1.3': [
    ...both,
    ['the longest length and one', alert.recordOverflow, (c) => c.peer.write(Buffer.from([23, 3, 3, 0x41, 0x01]))],
    ['an inner plaintext too long by padding', alert.recordOverflow, (c) => c.sendData('x', { padding: 16_384 })],
    [
      'nothing but zeros inside',
      alert.unexpectedMessage,
      (c) => c.sendData('', { inner: Buffer.alloc(40) }),
      alert.badRecordMac,
    ],
    ['nothing at all inside', alert.badRecordMac, (c) => c.sendData('', { inner: Buffer.alloc(0) })],
    [
      'the outer type of an alert',
      alert.unexpectedMessage,
      (c) => c.sendData('x', { outerType: 21 }),
      alert.badRecordMac,
    ],
    [
      'the outer type of a handshake',
      alert.unexpectedMessage,
      (c) => c.sendData('x', { outerType: 22 }),
      alert.badRecordMac,
    ],
    ['an unknown outer type', alert.unexpectedMessage, (c) => c.sendData('x', { outerType: 77 }), alert.badRecordMac],
    ['ClientHello', alert.unexpectedMessage, (c) => c.send(contentType.handshake, handshake(1, 60))],
    ['CertificateRequest', alert.unexpectedMessage, (c) => c.send(contentType.handshake, handshake(13))],
    ['half an alert', alert.unexpectedMessage, (c) => c.send(contentType.alert, Buffer.from([2]))],
    ['two alerts in a record', alert.unexpectedMessage, (c) => c.send(contentType.alert, Buffer.from([1, 90, 1, 0]))],
    ['KeyUpdate with an unknown request', alert.illegalParameter, (c) => c.send(contentType.handshake, keyUpdate(2))],
    [
      'KeyUpdate with a byte too many',
      alert.decodeError,
      (c) => c.send(contentType.handshake, Buffer.from([24, 0, 0, 2, 0, 0])),
    ],
    ['KeyUpdate without a byte', alert.decodeError, (c) => c.send(contentType.handshake, Buffer.from([24, 0, 0, 0]))],
    [
      'KeyUpdate in two records',
      alert.unexpectedMessage,
      (c) => {
        c.send(contentType.handshake, keyUpdate(0).subarray(0, 3));
        c.send(contentType.handshake, keyUpdate(0).subarray(3));
      },
    ],
    [
      'two KeyUpdates in a record',
      alert.unexpectedMessage,
      (c) => c.send(contentType.handshake, Buffer.concat([keyUpdate(0), keyUpdate(0)])),
    ],
  ],
  '1.2': [
    ...both,
    ['the longest length and one', alert.recordOverflow, (c) => c.peer.write(Buffer.from([23, 3, 3, 0x48, 0x01]))],
    ['the version of TLS 1.1', alert.protocolVersion, (c) => c.sendData('x', { outerVersion: 0x0302 })],
    ['an unknown content type', alert.unexpectedMessage, (c) => c.send(77, 'x')],
    ['KeyUpdate', alert.unexpectedMessage, (c) => c.send(contentType.handshake, keyUpdate(0))],
    ['HelloRequest', alert.unexpectedMessage, (c) => c.send(contentType.handshake, Buffer.from([0, 0, 0, 0]))],
  ],
};

const backend = await startBackend();

for (const variant of await variants({ listeners: [{ backend: backend.address }] })) {
  for (const [what, usual, send, kernel] of faults[variant.version]) {
    const expected = variant.rx === 'kernel' ? (kernel ?? usual) : usual;
    test(`${variant.label}: ${what} is alert ${expected}`, async () => {
      const { client, server } = await openSession(variant, backend);
      client.sendData('good');
      assert.is((await server.read(4)).toString(), 'good');
      send(client);
      client.sendData('behind');
      const { data, alerts, end } = await client.outcome();
      assert.equal({ data, alerts, end }, { data: '', alerts: [expected], end: 'fin' });
      const seen = await server.outcome();
      assert.is(seen.end, 'reset');
      assert.not.match(seen.data, 'behind');
      assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'protocol_fault');
    });
  }

  if (variant.version === '1.3') {
    test(`${variant.label}: data with the keys before a KeyUpdate`, async () => {
      const { client, server } = await openSession(variant, backend);
      client.send(contentType.handshake, keyUpdate(0));
      client.sendData('x');
      const follows = variant.rekeys.rx;
      assert.equal((await client.outcome()).alerts, [follows ? alert.badRecordMac : alert.internalError]);
      assert.equal(await server.outcome(), { data: '', end: 'reset' });
      assert.is((await variant.proxy.sessionEnd(client.port)).reason, follows ? 'protocol_fault' : 'no_rekey');
    });
  }

  test(`${variant.label}: good data right before a bad record reaches the backend`, async () => {
    const { client, server } = await openSession(variant, backend);
    const good = Array.from({ length: 20 }, (_, i) => client.seal(contentType.data, `record ${10 + i};`));
    client.peer.write(Buffer.concat([...good, client.seal(contentType.data, 'bad', { flip: true })]));
    // RST may overtake bytes in the backend's own queue, but the proxy says what it passed on.
    assert.equal((await client.outcome()).alerts, [alert.badRecordMac]);
    assert.is(await server.end, 'reset');
    assert.is((await variant.proxy.sessionEnd(client.port)).bytes_from_client, '200');
  });
}
