// SPDX-License-Identifier: MIT
// Each direction by itself, at a record boundary, in the middle of whatever flows; the streams don't notice. Where the kernel has no
// TLS, or does not have that direction, it stays where it was.
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { type Engine, engines } from '../helpers/engines.ts';
import { inKernel, inKernelAgain } from '../helpers/kernel-counters.ts';
import { KnownStream, writeStream } from '../helpers/known-stream.ts';
import type { LogLine } from '../helpers/log-lines.ts';
import type { Peer } from '../helpers/peer.ts';
import { type RunningProxy, startProxy, versions } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, variantOf, withEngine } from '../helpers/variants.ts';

const after = 100_000;
const bulk = 1_500_000;
const fewBytes = 'offload_after is not reached';
const hashing = await startBackend({ taking: 'hash' });
const keeping = await startBackend();

/** Sizes of records: every kind, in no order that repeats soon. */
function* recordSizes(total: number): Generator<number> {
  for (let left = total, i = 1; left > 0; i++) {
    const size = Math.min(left, i % 5 === 0 ? 16_384 : 1 + ((i * 7919) % 16_384));
    left -= size;
    yield size;
  }
}

/** Records of a stream as one run of bytes; its SHA-256. */
function sealStream(client: RawTlsClient, total: number, seed: number): { wire: Buffer; hash: string } {
  const stream = new KnownStream(seed);
  const records = [...recordSizes(total)].map((size) => client.seal(contentType.data, stream.next(size)));
  return { wire: Buffer.concat(records), hash: stream.digest() };
}

async function writeAll({ socket }: Peer, bytes: Buffer): Promise<void> {
  if (!socket.write(bytes)) await once(socket, 'drain');
}

/** At least so many bytes, to the end of a record. */
async function readSome(client: RawTlsClient, length: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let missing = length; missing > 0; ) {
    const content = (await client.read())?.content;
    if (content === undefined) throw new Error('TCP has ended');
    parts.push(content);
    missing -= content.length;
  }
  return Buffer.concat(parts);
}

/** What the log must say of a session in which `rx` and `tx` tell which direction has carried enough. */
function checkEngines(line: LogLine, engine: Engine, rx: boolean, tx: boolean): void {
  const expected = { rx: rx ? engine.rx : 'userspace', tx: tx ? engine.tx : 'userspace' };
  assert.equal({ rx: line.engine_rx, tx: line.engine_tx }, expected, JSON.stringify(line));
  const reason = (direction: 'rx' | 'tx'): string | undefined =>
    line[`engine_reason_${direction}`] ?? line.engine_reason;
  if (engine.rx === 'kernel' && !rx) assert.is(reason('rx'), fewBytes);
  if (engine.tx === 'kernel' && !tx) assert.is(reason('tx'), fewBytes);
}

const listeners = [
  { name: 'hashing', backend: hashing.address, offload_after: `${after}B` },
  { name: 'keeping', backend: keeping.address, offload_after: `${after}B` },
  { name: 'at-once', backend: hashing.address },
];
const started: { engine: Engine; proxy: RunningProxy }[] = [];
for (const engine of engines) {
  const proxy = await startProxy(withEngine({ listeners }, engine));
  afterAll(() => proxy.stop());
  started.push({ engine, proxy });
}

for (const { engine, proxy } of started) {
  const [, keepingPort = 0, atOncePort = 0] = proxy.ports;

  for (const version of versions) {
    const variant = variantOf(proxy, engine, version);

    test(`${variant.label}: both directions busy, and no write ends where a record does`, async () => {
      const { client, server } = await openSession(variant, hashing);
      const down = writeStream(server.socket, bulk, 2);
      const { wire, hash } = sealStream(client, bulk, 1);
      const up = (async (): Promise<void> => {
        for (let at = 0, step = 1; at < wire.length; at += step, step = 1 + ((step * 31 + 9_973) % 40_009))
          await writeAll(client.peer, wire.subarray(at, at + step));
      })();
      const got = new KnownStream(2).next(bulk).equals(await client.readData(bulk));
      await Promise.all([up, down]);
      client.sendAlert(alert.closeNotify);
      assert.is(await server.hash(), hash, 'client to backend');
      assert.ok(got, 'backend to client');
      server.finish();
      assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
      const line = await proxy.sessionEnd(client.port);
      assert.equal([line.bytes_from_client, line.bytes_to_client], [String(bulk), String(bulk)]);
      checkEngines(line, engine, true, true);
    });

    test(`${variant.label}: an uploader in bursts of whole records, and the backend is silent`, async () => {
      const { client, server } = await openSession(variant, hashing);
      const stream = new KnownStream(3);
      let sent = 0;
      for (const size of recordSizes(600_000)) {
        client.sendData(stream.next(size));
        sent += size;
        while (server.received < sent) await once(server.socket, 'data');
      }
      client.sendAlert(alert.closeNotify);
      assert.is(await server.hash(), stream.digest());
      server.finish('done');
      assert.is((await client.outcome()).data, 'done');
      checkEngines(await proxy.sessionEnd(client.port), engine, true, false);
    });

    test(`${variant.label}: a download to a client that stops reading before and after`, async () => {
      const { client, server } = await openSession(variant, hashing);
      const before = inKernel();
      client.peer.socket.pause();
      const down = writeStream(server.socket, 6_000_000, 4);
      await new Promise((resolve) => setTimeout(resolve, 300));
      client.peer.socket.resume();
      const first = await readSome(client, 3_000_000);
      client.peer.socket.pause();
      await new Promise((resolve) => setTimeout(resolve, 100));
      if (engine.tx === 'kernel') await inKernelAgain({ rx: before.rx, tx: before.tx + 1 });
      client.peer.socket.resume();
      const all = Buffer.concat([first, await client.readData(6_000_000 - first.length)]);
      assert.ok(all.equals(new KnownStream(4).next(all.length)));
      await down;
      server.finish();
      assert.equal((await client.outcome()).alerts, [alert.closeNotify]);
      await server.end;
      checkEngines(await proxy.sessionEnd(client.port), engine, false, true);
    });

    test(`${variant.label}: a short session stays`, async () => {
      const { client, server } = await openSession({ ...variant, proxy: { ...proxy, port: keepingPort } }, keeping);
      client.sendData(Buffer.alloc(16_000, 'u'));
      await server.read(16_000);
      server.write(Buffer.alloc(after - 1, 'd'));
      await client.readData(after - 1);
      client.sendAlert(alert.closeNotify);
      assert.is(await server.end, 'fin');
      server.finish();
      await client.outcome();
      checkEngines(await proxy.sessionEnd(client.port), engine, false, false);
    });

    for (const [port, behind] of [
      [proxy.port, 'bulk behind it'],
      [atOncePort, 'bulk behind it, at once'],
    ] as const) {
      test(`${variant.label}: records and a part of one with Finished, ${behind}`, async () => {
        const client = await RawTlsClient.connect({ port, version, holdFinished: true });
        const { wire, hash } = sealStream(client, 1_000_000, 5);
        const cut = 40_011;
        client.peer.write(Buffer.concat([client.heldFlight, wire.subarray(0, cut)]));
        const server = await hashing.next();
        await new Promise((resolve) => setTimeout(resolve, 50));
        await writeAll(client.peer, wire.subarray(cut));
        client.sendAlert(alert.closeNotify);
        assert.is(await server.hash(), hash);
        server.finish('answer');
        assert.is((await client.outcome()).data, 'answer');
        checkEngines(await proxy.sessionEnd(client.port), engine, true, port === atOncePort);
      });
    }
  }
}
