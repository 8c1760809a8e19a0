// SPDX-License-Identifier: MIT
// What the kernel has sealed may wait above TCP, where shutdown() and close() would drop it without a word, so sizes go around what
// the send buffer holds. The lab makes buffers small, which only it may: they are the network namespace's.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { engines } from '../helpers/engines.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { type Variant, variants } from '../helpers/variants.ts';

type Reader = 'late' | 'slow';

const inLab = / LAB=/.test(readFileSync('/proc/cmdline', 'latin1'));

/** The whole answer, then FIN, as soon as the request says how long it is to be. */
const backend = await startBackend({
  onConnection: async (peer) => {
    const request = await peer.read(8);
    const length = Number(request.toString());
    peer.finish(new KnownStream(length % 251).next(length));
  },
});
const listeners = [{ backend: backend.address }];

/** Bytes that wait at most in a socket's send and receive buffer. */
function setBuffers(send: number, receive: number): void {
  writeFileSync('/proc/sys/net/ipv4/tcp_wmem', `4096 ${send} ${send}`);
  writeFileSync('/proc/sys/net/ipv4/tcp_rmem', `4096 ${receive} ${receive}`);
}

// Less than a record: more of it is always above TCP than in it.
if (inLab) setBuffers(6_000, 40_000);
const all = await variants({ listeners });

/** One session; everything that can be wrong about how its answer ends. */
async function fetch({ proxy, version }: Variant, length: number, reader: Reader): Promise<void> {
  const client = await RawTlsClient.connect({ port: proxy.port, version });
  const { socket } = client.peer;
  const hash = createHash('sha256');
  const alerts: number[] = [];
  if (reader === 'late') {
    socket.pause();
    setTimeout(() => socket.resume(), 150);
  } else {
    socket.on('data', () => {
      socket.pause();
      setTimeout(() => socket.resume(), 1);
    });
  }
  client.sendData(String(length).padStart(8));
  let received = 0;
  for (let record = await client.read(); record !== undefined; record = await client.read()) {
    if (record.type === contentType.alert) alerts.push(record.content[1] ?? -1);
    else if (alerts.length > 0) throw new Error('a record behind close_notify');
    else hash.update(record.content);
    if (record.type === contentType.data) received += record.content.length;
  }
  const what = `${length} bytes, ${reader}`;
  assert.equal([received, alerts, client.peer.ending], [length, [alert.closeNotify], 'fin'], what);
  const stream = new KnownStream(length % 251);
  stream.next(length);
  assert.is(hash.digest('hex'), stream.digest(), what);
  client.sendAlert(alert.closeNotify);
  client.peer.finish();
  // Ports come again.
  const session = { client_port: client.port, bytes_to_client: length };
  const line = await proxy.log.waitFor({ event: 'proxy', subevent: 'client_disconnect', ...session });
  assert.is(line.reason, 'closed', what);
}

/** So many sessions at a time. */
async function fetchAll(variant: Variant, jobs: readonly (readonly [number, Reader])[], width: number): Promise<void> {
  const left = [...jobs];
  const worker = async (): Promise<void> => {
    for (let job = left.shift(); job !== undefined; job = left.shift()) await fetch(variant, ...job);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

for (const variant of all) {
  // All that a session can hold back: its own buffers, and those of both sockets.
  const least = inLab ? 1 : 3 << 20;
  const sizes = Array.from({ length: 12 }, (_, i) => least + i * 15_347);
  for (const reader of ['late', 'slow'] as const) {
    test(`${variant.label}: sizes around the send buffer, to a reader that is ${reader}`, () =>
      fetchAll(
        variant,
        sizes.map((size) => [size, reader]),
        4,
      ));
  }

  const sessions = variant.engine === engines[0] ? 120 : 40;
  test(
    `${variant.label}: ${sessions} short sessions`,
    () =>
      fetchAll(
        variant,
        Array.from({ length: sessions }, (_, i) => [1 + ((i * i * 7919) % 300_000), i % 2 === 0 ? 'late' : 'slow']),
        20,
      ),
    { deadline: 60_000 },
  );
}
