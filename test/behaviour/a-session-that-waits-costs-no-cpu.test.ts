// SPDX-License-Identifier: MIT
// Runs alone: it measures CPU time. Kernels call a socket readable or writable in many states in which nothing can be done: half a record
// (Linux 6.1), a KeyUpdate that is read but whose keys are missing, a record whose framing is broken, bytes that wait above TCP.
import * as assert from 'uvu/assert';
import { push, startBackend } from '../helpers/backends.ts';
import { engines } from '../helpers/engines.ts';
import { cpuSeconds } from '../helpers/processes.ts';
import type { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, type Session, type Variant, variants } from '../helpers/variants.ts';

const backend = await startBackend({ taking: 'count' });
const everything = await variants({ listeners: [{ backend: backend.address }] });
/** Each state takes its time: both versions for one engine, and those in which the engines differ most for another. */
const all = everything.filter(
  ({ engine, version, rx }) => engine === engines[0] || (version === '1.3' && rx === 'kernel'),
);

/** `settle` brings a session into a state in which everybody waits. */
function waits(variant: Variant, what: string, settle: (session: Session) => unknown): void {
  test(`${variant.label}: ${what}`, async (t) => {
    const session = await openSession(variant, backend);
    const { client, server } = session;
    t.after(async () => {
      server.reset();
      client.peer.reset();
      await variant.proxy.sessionEnd(client.port);
    });
    await settle(session);
    await new Promise((resolve) => setTimeout(resolve, 80));
    const pid = variant.proxy.workerPid();
    const before = cpuSeconds(pid);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const used = cpuSeconds(pid) - before;
    // A loop that spins uses all of it, or nearly so beside others.
    assert.ok(used <= 0.05, `${used} s of CPU in 0.2 s`);
  });
}

/** Full records until nobody takes more. */
function pushRecords(client: RawTlsClient): Promise<number> {
  return push(client.peer.socket, () => client.seal(contentType.data, Buffer.alloc(16_384)));
}

function half(record: Buffer): Buffer {
  return record.subarray(0, record.length >> 1);
}

/** All the client has to say, so that nothing is read any more, and the answer flows on. */
async function closeUp({ client, server }: Session): Promise<void> {
  client.sendAlert(alert.closeNotify);
  await server.end;
}

function header(type: number, version: number, length: number): Buffer {
  return Buffer.from([type, version >> 8, version & 0xff, length >> 8, length & 0xff]);
}

async function faulty(client: RawTlsClient, bytes: Buffer): Promise<void> {
  client.peer.write(bytes);
  const { alerts } = await client.outcome({ stay: true });
  assert.is(alerts.length, 1);
}

for (const variant of all) {
  waits(variant, 'nothing has come', () => {});
  waits(variant, 'half a record has come', ({ client }) =>
    client.peer.write(half(client.seal(contentType.data, Buffer.alloc(16_384)))),
  );
  waits(variant, 'three bytes of a header have come', ({ client }) =>
    client.peer.write(client.seal(contentType.data, 'x').subarray(0, 3)),
  );
  waits(variant, 'half a record behind whole ones', async ({ client, server }) => {
    client.sendData(Buffer.alloc(16_384));
    client.sendData('x');
    client.peer.write(half(client.seal(contentType.data, Buffer.alloc(1000))));
    while (server.received < 16_385) await new Promise((resolve) => setTimeout(resolve, 5));
  });
  waits(variant, 'empty records have come', ({ client }) => {
    for (let i = 0; i < 20; i++) client.sendData('');
  });
  waits(variant, 'the backend does not read', ({ client, server }) => {
    server.socket.pause();
    return pushRecords(client);
  });
  waits(variant, 'the client does not read', ({ client, server }) => {
    client.peer.socket.pause();
    return push(server.socket);
  });
  waits(variant, 'neither reads', async ({ client, server }) => {
    client.peer.socket.pause();
    server.socket.pause();
    await Promise.all([push(server.socket), pushRecords(client)]);
  });
  waits(variant, 'the client does not read, and the backend has ended', async ({ client, server }) => {
    client.peer.socket.pause();
    await push(server.socket);
    server.finish();
  });
  waits(variant, 'close_notify, and garbage behind it', async (session) => {
    await closeUp(session);
    session.client.peer.write(Buffer.alloc(100_000, 23));
  });
  waits(variant, 'close_notify, and half a record behind it', async (session) => {
    await closeUp(session);
    session.client.peer.write(half(session.client.seal(contentType.data, Buffer.alloc(9000))));
  });
  waits(variant, 'close_notify and FIN, and the answer is awaited', async (session) => {
    await closeUp(session);
    session.client.peer.finish();
  });
  waits(variant, 'the backend has ended, the client has not', async ({ client, server }) => {
    server.finish();
    while ((await client.read())?.type !== contentType.alert);
  });
  waits(variant, 'a record with a broken tag, and the client stays', ({ client }) =>
    faulty(client, client.seal(contentType.data, 'x', { flip: true })),
  );
  waits(variant, 'a record that is far too long, and the client stays', ({ client }) =>
    faulty(client, Buffer.concat([header(23, 0x0303, 0xffff), Buffer.alloc(30_000)])),
  );
  waits(variant, 'a record that is far too short, and the client stays', ({ client }) =>
    faulty(client, Buffer.concat([header(23, 0x0303, 3), Buffer.alloc(3), client.seal(contentType.data, 'x')])),
  );
  if (variant.version === '1.2') continue;
  waits(variant, 'half a KeyUpdate has come', ({ client }) => client.peer.write(half(client.sealKeyUpdate(0))));
  if (!variant.rekeys.rx) {
    waits(variant, 'a KeyUpdate, and the client stays', ({ client }) => faulty(client, client.sealKeyUpdate(0)));
    continue;
  }
  waits(variant, 'a KeyUpdate and half a record under the new keys', ({ client }) => {
    client.sendData('old keys');
    client.sendKeyUpdate(0);
    client.peer.write(half(client.seal(contentType.data, Buffer.alloc(16_384))));
  });
  waits(variant, 'a KeyUpdate behind close_notify', async (session) => {
    await closeUp(session);
    session.client.sendKeyUpdate(0);
    session.client.sendData('new keys');
  });
  if (!variant.rekeys.tx) continue;
  waits(variant, 'a KeyUpdate that asks, and the client does not read', async ({ client, server }) => {
    client.peer.socket.pause();
    await push(server.socket);
    client.sendKeyUpdate(1);
    client.sendData('new keys');
  });
}
