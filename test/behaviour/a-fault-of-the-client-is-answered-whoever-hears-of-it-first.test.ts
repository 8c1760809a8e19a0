// SPDX-License-Identifier: MIT
// Where the kernel opens the records, it tells once what is wrong with them or with the connection, to whatever call comes first: a read,
// a splice or the sending of an answer, which fails until then. Whoever it was, the session ends as it does without the kernel, and
// nothing of the answer is lost.
import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { push, startBackend } from '../helpers/backends.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import type { Peer } from '../helpers/peer.ts';
import type { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, type Session, type Variant, variants } from '../helpers/variants.ts';

const full = 16_384;
const backend = await startBackend({ taking: 'count' });
const all = await variants({ listeners: [{ backend: backend.address }] });
const faults: readonly (readonly [what: string, expected: number, bytes: (client: RawTlsClient) => Buffer])[] = [
  ['a flipped bit', alert.badRecordMac, (client) => client.seal(contentType.data, 'x', { flip: true })],
  // With as many bytes behind it as an explicit nonce has: the kernel judges no header of TLS 1.2 before.
  [
    'a header that promises far too much',
    alert.recordOverflow,
    () => Buffer.from([23, 3, 3, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]),
  ],
];

/** Over with the test, however it goes: nothing may flow on into a client that has failed. */
async function open(variant: Variant, t: TestContext): Promise<Session> {
  const session = await openSession(variant, backend);
  t.after(() => session.client.peer.reset());
  return session;
}

function next(peer: Peer, event: 'data' | 'drain'): Promise<unknown> {
  return Promise.race([new Promise<void>((resolve) => peer.socket.once(event, () => resolve())), peer.end]);
}

async function arrived(peer: Peer, bytes: number): Promise<void> {
  while (peer.received < bytes && peer.ending === undefined) await next(peer, 'data');
}

/** Writes `chunks` one by one, as fast as they are taken, while the other side is there. */
async function writeAll(peer: Peer, chunks: Iterable<Buffer>): Promise<void> {
  for (const chunk of chunks) {
    if (peer.ending !== undefined) return;
    if (!peer.socket.write(chunk)) await next(peer, 'drain');
  }
}

function* endless(): Generator<Buffer> {
  for (const chunk = Buffer.alloc(1 << 16); ; ) yield chunk;
}

function* sealed(client: RawTlsClient, count: number): Generator<Buffer> {
  for (let i = 0; i < count; i++) yield client.seal(contentType.data, Buffer.alloc(full));
}

for (const variant of all) {
  const { label, proxy } = variant;
  for (const [what, expected, bytes] of faults) {
    for (const when of ['at once', 'while the answer flows'] as const) {
      test(`${label}: ${what} behind close_notify, ${when}, does not cut the answer`, async (t) => {
        const { client, server } = await open(variant, t);
        const answer = new KnownStream(1);
        client.sendAlert(alert.closeNotify);
        if (when === 'at once') client.peer.write(bytes(client));
        assert.is(await server.end, 'fin');
        server.write(answer.next(20 * full));
        if (when !== 'at once') {
          await arrived(client.peer, full);
          client.peer.write(bytes(client));
        }
        await arrived(client.peer, 20 * full);
        server.finish(answer.next(20 * full));
        const { data, alerts, end } = await client.outcome();
        assert.is(createHash('sha256').update(data, 'latin1').digest('hex'), answer.digest());
        assert.equal([alerts, end], [[alert.closeNotify], 'fin']);
        const line = await proxy.sessionEnd(client.port);
        assert.equal([line.reason, line.bytes_to_client], ['closed', String(data.length)]);
      });
    }

    test(`${label}: ${what} during a download is alert ${expected}`, async (t) => {
      for (let round = 1; round <= 10; round++) {
        const { client, server } = await open(variant, t);
        const download = writeAll(server, endless());
        await arrived(client.peer, round * 3 * full);
        client.peer.write(bytes(client));
        const { data, alerts, end } = await client.outcome();
        assert.equal([alerts, end], [[expected], 'fin']);
        assert.is(await server.end, 'reset');
        const line = await proxy.sessionEnd(client.port);
        assert.equal([line.reason, line.bytes_to_client], ['protocol_fault', String(data.length)]);
        await download;
      }
    });

    test(`${label}: ${what} while the answer is stuck: first all of it, then alert ${expected}`, async (t) => {
      const { client, server } = await open(variant, t);
      client.peer.socket.pause();
      assert.ok((await push(server.socket)) > 0);
      client.peer.write(bytes(client));
      assert.is(await server.end, 'reset');
      client.peer.socket.resume();
      const { data, alerts, end } = await client.outcome();
      assert.equal([alerts, end], [[expected], 'fin']);
      const line = await proxy.sessionEnd(client.port);
      assert.equal([line.reason, line.bytes_to_client], ['protocol_fault', String(data.length)]);
    });
  }

  test(`${label}: an upload that is reset never ends with FIN`, async (t) => {
    const records = 100;
    for (let round = 1; round <= 10; round++) {
      const { client, server } = await open(variant, t);
      const upload = writeAll(client.peer, sealed(client, records));
      // In the middle of it, and behind all of it.
      await arrived(server, (round % 2 === 0 ? records : round * 8) * full);
      if (round % 2 === 0) await upload;
      client.peer.reset();
      assert.is(await server.end, 'reset');
      assert.is((await proxy.sessionEnd(client.port)).reason, 'client_reset');
      await upload;
    }
  });
}
