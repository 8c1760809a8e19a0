// SPDX-License-Identifier: MIT
// Full records go by splice where the kernel carries them, and everything else has to be noticed behind them: what was sent before
// the interruption arrives, what comes after it too unless it ends the session, and the session ends as it should.
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import type { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, type Session, type Variant, variants } from '../helpers/variants.ts';

const full = 16_384;
/** Enough for windows to widen until splice is used, and for some turns of it. */
const before = 48 * full;
const backend = await startBackend({ taking: 'hash' });
/** Headers that say where no record can be. */
const framing: readonly (readonly [string, Buffer, number])[] = [
  ['a record that is far too long', Buffer.from([23, 3, 3, 0xff, 0xff]), alert.recordOverflow],
  ['a record that is far too short', Buffer.from([23, 3, 3, 0, 3]), alert.badRecordMac],
];
const all = await variants({ listeners: [{ backend: backend.address }] });

/** Full records of `stream`. */
function records(client: RawTlsClient, stream: KnownStream, bytes: number): Buffer {
  return Buffer.concat(Array.from({ length: bytes / full }, () => client.seal(contentType.data, stream.next(full))));
}

async function arrived({ server }: Session, bytes: number): Promise<void> {
  while (server.received < bytes) await once(server.socket, 'data');
}

/** `middle` makes what stands, in one write, between two runs of full records; the bytes of payload in it. */
function goesOn(variant: Variant, what: string, middle: (client: RawTlsClient, stream: KnownStream) => Buffer): void {
  test(`${variant.label}: ${what}`, async () => {
    const session = await openSession(variant, backend);
    const { client, server } = session;
    const stream = new KnownStream(1);
    for (let round = 0; round < 2; round++) {
      const parts = [
        records(client, stream, before),
        middle(client, stream),
        records(client, stream, before),
        middle(client, stream),
      ];
      client.peer.write(Buffer.concat(parts));
    }
    client.peer.write(records(client, stream, full));
    client.sendAlert(alert.closeNotify);
    assert.is(await server.hash(), stream.digest());
    server.finish('answer');
    assert.equal(await client.outcome(), { data: 'answer', alerts: [alert.closeNotify], end: 'fin' });
    const line = await variant.proxy.sessionEnd(client.port);
    assert.equal([line.reason, line.bytes_from_client], ['closed', String(server.received)]);
  });
}

/** The session ends behind `before` bytes of payload, of which the backend sees all and then `end`. */
function ends(
  variant: Variant,
  what: string,
  expected: { readonly reason: string; readonly end: 'fin' | 'reset'; readonly alerts: readonly number[] },
  finish: (client: RawTlsClient, rest: Buffer) => unknown,
): void {
  test(`${variant.label}: ${what}`, async () => {
    const session = await openSession(variant, backend);
    const { client, server } = session;
    const stream = new KnownStream(2);
    // A reset may overtake what the backend has not read, so the first part is waited for.
    client.peer.write(records(client, stream, before));
    await arrived(session, before);
    await finish(client, records(client, stream, full * (expected.end === 'fin' ? 8 : 0)));
    assert.is(await server.end, expected.end);
    assert.is(await server.hash(), stream.digest());
    if (expected.end === 'fin') server.finish();
    assert.equal((await client.outcome()).alerts, expected.alerts);
    const line = await variant.proxy.sessionEnd(client.port);
    assert.equal([line.reason, line.bytes_from_client], [expected.reason, String(server.received)]);
  });
}

for (const variant of all) {
  const small = (client: RawTlsClient, stream: KnownStream, sizes: readonly number[]): Buffer =>
    Buffer.concat(sizes.map((size) => client.seal(contentType.data, stream.next(size))));

  goesOn(variant, 'an empty record', (client) => client.seal(contentType.data));
  goesOn(variant, '32 empty records', (client) =>
    Buffer.concat(Array.from({ length: 32 }, () => client.seal(contentType.data))),
  );
  goesOn(variant, 'an empty record behind each of small ones', (client, stream) =>
    Buffer.concat(Array.from({ length: 60 }, (_, i) => small(client, stream, [i % 2 === 0 ? 0 : 1 + i * 97]))),
  );
  goesOn(variant, 'small records of all sizes', (client, stream) =>
    small(client, stream, [1, 2, 4095, 4096, 4097, 8192, 12_287, 12_288, 12_289, 16_383]),
  );
  goesOn(variant, 'a warning', (client) => client.seal(contentType.alert, Buffer.from([1, alert.userCanceled])));
  if (variant.version === '1.3') {
    goesOn(variant, 'records full of padding', (client, stream) =>
      Buffer.concat([
        client.seal(contentType.data, stream.next(1), { padding: 16_383 }),
        client.seal(contentType.data, '', { padding: 16_384 }),
      ]),
    );
    if (variant.rekeys.rx) {
      goesOn(variant, 'a KeyUpdate', (client) => client.sealKeyUpdate(0));
      goesOn(variant, 'KeyUpdates with small records and empty ones between', (client, stream) =>
        Buffer.concat(
          [1, 0, 100, 0, 0, 5000].flatMap((size) => [client.sealKeyUpdate(0), small(client, stream, [size])]),
        ),
      );
    }
    if (variant.rekeys.rx && variant.rekeys.tx)
      goesOn(variant, 'a KeyUpdate that asks for ours', (client) => client.sealKeyUpdate(1));
  }

  ends(
    variant,
    'close_notify behind it, with garbage',
    { reason: 'closed', end: 'fin', alerts: [alert.closeNotify] },
    (client, rest) => {
      client.peer.write(rest);
      client.sendAlert(alert.closeNotify);
      client.peer.write(Buffer.alloc(100_000, 23));
    },
  );
  ends(
    variant,
    'FIN without close_notify',
    { reason: 'truncated', end: 'fin', alerts: [alert.closeNotify] },
    (client, rest) => client.peer.finish(rest),
  );
  ends(
    variant,
    'FIN in the middle of a record',
    { reason: 'truncated', end: 'fin', alerts: [alert.closeNotify] },
    (client, rest) =>
      client.peer.finish(Buffer.concat([rest, client.seal(contentType.data, Buffer.alloc(full)).subarray(0, 9_999)])),
  );
  ends(variant, 'RST', { reason: 'client_reset', end: 'reset', alerts: [] }, (client) => client.peer.reset());
  ends(variant, 'a fatal alert', { reason: 'client_alert', end: 'reset', alerts: [] }, (client) =>
    client.sendAlert(alert.internalError),
  );
  ends(variant, 'a broken record', { reason: 'protocol_fault', end: 'reset', alerts: [alert.badRecordMac] }, (client) =>
    client.sendData(Buffer.alloc(full), { flip: true }),
  );
  for (const [what, header, expected] of framing) {
    const fault = { reason: 'protocol_fault', end: 'reset', alerts: [expected] } as const;
    ends(variant, what, fault, (client) => client.peer.write(Buffer.concat([header, Buffer.alloc(100)])));
  }
  // The kernel swallows those that it finds together, and only their wake-ups are counted.
  ends(
    variant,
    'a flood of empty records',
    { reason: 'protocol_fault', end: 'reset', alerts: [alert.unexpectedMessage] },
    async (client) => {
      for (let i = 0; i < 500 && client.peer.ending === undefined; i++) {
        client.peer.write(Buffer.concat(Array.from({ length: 20 }, () => client.seal(contentType.data))));
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
  );
  if (variant.version === '1.3' && !variant.rekeys.rx) {
    ends(
      variant,
      'a KeyUpdate that can not be followed',
      { reason: 'no_rekey', end: 'reset', alerts: [alert.internalError] },
      (client) => {
        client.sendKeyUpdate(0);
        client.sendData(Buffer.alloc(full));
      },
    );
  }
}
