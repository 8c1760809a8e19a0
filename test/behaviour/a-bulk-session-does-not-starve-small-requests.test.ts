// SPDX-License-Identifier: MIT
// Runs alone: it counts what passes a request by. Everything shares one relay thread.
// In the kernel lab on the newest alone: turns are our own.
// In the kernel lab never one direction alone: each direction takes its turns by itself.

import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const echo = await startEcho();
const zeros = Buffer.alloc(1 << 16);
const endless = await startBackend({
  taking: 'count',
  onConnection: ({ socket }) => {
    const more = (): void => {
      while (socket.writable && socket.write(zeros));
    };
    socket.on('drain', more);
    more();
  },
});
const options = {
  listeners: [
    { name: 'small', backend: echo.address },
    { name: 'bulk', backend: endless.address },
  ],
  config: { threads: { handshake: 1, relay: 1 } },
};

for (const { proxy, version, label } of await variants(options)) {
  test(
    `${label}: requests beside four endless downloads`,
    async (t) => {
      const { socket, peer } = await tlsConnect({ port: proxy.port, ...only(version) });
      const bulk = await Promise.all(
        Array.from({ length: 4 }, () => tlsConnect({ port: proxy.ports[1] ?? 0, ...only(version), taking: 'count' })),
      );
      t.after(() => {
        for (const client of [...bulk, { socket }]) client.socket.destroy();
      });
      const arrived = (): number => bulk.reduce((sum, client) => sum + client.peer.received, 0);
      const passed: number[] = [];
      const until = performance.now() + 4000;
      while (passed.length < 20 || (passed.length < 200 && performance.now() < until)) {
        const before = arrived();
        socket.write('ping');
        await peer.read(4);
        passed.push(arrived() - before);
      }
      passed.sort((a, b) => a - b);
      // Bytes, because time is the machine's: while this process stands still a request waits, and full buffers come behind it. Turns of
      // 512 KiB let 4 to 8 MiB pass by a request, turns without an end (seen: of 64 MiB) 50.
      const quarter = passed[passed.length >> 2] ?? 0;
      assert.ok(quarter < 24 << 20, `${quarter >> 20} MiB passed by all but a quarter of the requests`);
      for (const client of bulk) assert.ok(client.peer.received > 1 << 20, 'every bulk session moves too');
    },
    { deadline: 60_000 },
  );
}
