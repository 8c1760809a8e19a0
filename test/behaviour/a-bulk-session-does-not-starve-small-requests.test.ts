// SPDX-License-Identifier: MIT
// Runs alone: it measures time. Everything shares one relay thread.
// In the kernel lab on the newest alone: turns are our own.
// In the kernel lab never one direction alone: each direction takes its turns by itself.

import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
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
      const times: number[] = [];
      const until = performance.now() + 4000;
      while (times.length < 20 || (times.length < 200 && performance.now() < until)) {
        const started = performance.now();
        socket.write('ping');
        await peer.read(4);
        times.push(performance.now() - started);
      }
      times.sort((a, b) => a - b);
      const median = times[times.length >> 1] ?? 0;
      // The test's own process decrypts the bulk as well, and shares two cores with the proxy: only starvation counts.
      assert.ok(median < 50 * timeFactor, `median ${median.toFixed(1)} ms`);
      assert.ok((times.at(-1) ?? 0) < 1000 * timeFactor, `longest ${times.at(-1)?.toFixed(1)} ms`);
      for (const client of bulk) assert.ok(client.peer.received > 1 << 20, 'every bulk session moves too');
    },
    { deadline: 60_000 },
  );
}
