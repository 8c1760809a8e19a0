// SPDX-License-Identifier: MIT
// Runs alone: it takes every core. 256 MiB each way at the same time, compared by SHA-256; IRONSOCKET_TEST_BULK_MIB changes the size.
// A storm of signals and readers that stop now and then change nothing.
import type { Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { writeStream } from '../helpers/known-stream.ts';
import { test } from '../helpers/suite.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const size = Number(process.env.IRONSOCKET_TEST_BULK_MIB ?? 256) << 20;
const backend = await startBackend({ taking: 'hash' });

/** Stops reading for a moment after every `every` bytes. */
function stutter(socket: Socket, every: number): void {
  let left = every;
  socket.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left > 0) return;
    left = every;
    socket.pause();
    setTimeout(() => socket.resume(), 20);
  });
}

for (const { proxy, version, label } of await variants({ listeners: [{ backend: backend.address }] })) {
  const bulk = async (total: number, disturb: (client: Socket, server: Socket) => void): Promise<void> => {
    const { socket, peer, port } = await tlsConnect({ port: proxy.port, ...only(version), taking: 'hash' });
    const server = await backend.next();
    disturb(socket, server.socket);
    const up = writeStream(socket, total, 1).then((hash) => {
      socket.end();
      return hash;
    });
    const down = writeStream(server.socket, total, 2).then((hash) => {
      server.finish();
      return hash;
    });
    const [sentUp, sentDown, gotUp, gotDown] = await Promise.all([up, down, server.hash(), peer.hash()]);
    assert.is(gotUp, sentUp, 'client to backend');
    assert.is(gotDown, sentDown, 'backend to client');
    const line = await proxy.sessionEnd(port);
    assert.is(line.bytes_from_client, String(total));
    assert.is(line.bytes_to_client, String(total));
    assert.is(line.reason, 'closed');
  };

  test(`${label}: as fast as it goes`, () => bulk(size, () => {}), { deadline: 120_000 });

  test(
    `${label}: slow readers on both sides`,
    () =>
      bulk(size >> 3, (client, server) => {
        stutter(client, 1 << 20);
        stutter(server, 3 << 19);
      }),
    { deadline: 60_000 },
  );

  test(
    `${label}: under a storm of signals`,
    async (t) => {
      const pid = proxy.workerPid();
      const timer = setInterval(() => {
        for (let i = 0; i < 20; i++) process.kill(pid, i % 2 === 0 ? 'SIGCONT' : 'SIGWINCH');
      }, 1);
      t.after(() => clearInterval(timer));
      await bulk(size >> 3, () => {});
    },
    { deadline: 60_000 },
  );
}
