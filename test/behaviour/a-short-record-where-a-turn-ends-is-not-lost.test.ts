// SPDX-License-Identifier: MIT
// A session that has had its turn (512 KiB) waits for the next one. Where splice uses the turn up by a short record, behind which a read
// is to look at what comes next, that read must wait too: it would take what the turn has no room for.
// In the kernel lab never one direction alone: only the direction from the client is in it.
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, type Session, variants } from '../helpers/variants.ts';

const full = 16_384;
/** The shortest record that splice goes on behind, and the longest that it stops behind (native/relay/splice.cc). */
const shortestFull = 12 * 1024;
const short = shortestFull - 1;
/** Copied behind a short record, before there is splice again; at the start of a session it makes the window wide enough. */
const copied = fulls(64);
const backend = await startBackend({ taking: 'hash' });
const all = await variants({ listeners: [{ backend: backend.address }] });

function fulls(count: number): readonly number[] {
  return new Array<number>(count).fill(full);
}

/** Records of `sizes` in one write; returns when the backend has them, so that the next write begins a turn. */
async function send({ client, server }: Session, stream: KnownStream, sizes: readonly number[]): Promise<void> {
  const before = server.received;
  client.peer.write(Buffer.concat(sizes.map((size) => client.seal(contentType.data, stream.next(size)))));
  const total = sizes.reduce((sum, size) => sum + size, before);
  while (server.received < total && server.ending === undefined) await new Promise((resolve) => setTimeout(resolve, 2));
  assert.is(server.received, total);
}

for (const variant of all) {
  test(`${variant.label}: nothing is lost behind a short record, wherever the turn ends`, async (t) => {
    for (let round = 0; round < 8; round++) {
      const session = await openSession(variant, backend);
      const { client, server } = session;
      t.after(() => client.peer.reset());
      const stream = new KnownStream(round);
      await send(session, stream, copied);
      // 31 full ones leave the turn 16 KiB, which the short one is too much for; one less or more, and it is not the last.
      for (const count of [31, 31, 30, 31, 32, 31]) {
        await send(session, stream, [...fulls(count), shortestFull, short, ...fulls(8)]);
        await send(session, stream, copied);
      }
      client.sendAlert(alert.closeNotify);
      assert.is(await server.hash(), stream.digest());
      server.finish();
      assert.equal((await client.outcome()).alerts, [alert.closeNotify]);
      const line = await variant.proxy.sessionEnd(client.port);
      assert.equal([line.reason, line.bytes_from_client], ['closed', String(server.received)]);
    }
  });
}
