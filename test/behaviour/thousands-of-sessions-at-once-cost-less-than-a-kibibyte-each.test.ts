// SPDX-License-Identifier: MIT
// Runs alone: it measures memory. 2,000 clients shake hands in one burst; all are served; idle, they cost the worker under 1 KiB each
// (docs/design.md section 1.6). Resident memory is used, which everyone may read: it grows at least as much as PSS does.
// In the kernel lab on the newest alone: it is our own memory that is measured.
// In the kernel lab never one direction alone: userspace needs the most memory, and natively has both.
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { residentBytes } from '../helpers/processes.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { only, type TlsClient, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

// With fewer, what the first ones cost once would count. A slow machine has them with one version.
const slow = timeFactor > 1;
const sessions = 2000;
const backend = await startEcho();
const options = {
  listeners: [{ backend: backend.address, timeouts: { handshake: '60s' } }],
  config: { log: { level: 'info' } },
};

for (const { proxy, version, label } of await variants(options, slow ? ['1.3'] : ['1.3', '1.2'])) {
  const burst = (count: number): Promise<TlsClient[]> =>
    Promise.all(Array.from({ length: count }, () => tlsConnect({ port: proxy.port, ...only(version) })));
  const echo = async ({ socket, peer }: TlsClient, text: string): Promise<void> => {
    socket.write(text);
    assert.is((await peer.read(text.length)).toString(), text);
  };
  const end = async (clients: readonly TlsClient[]): Promise<void> => {
    for (const { socket } of clients) socket.destroy();
    await backend.empty();
  };
  /** What a burst leaves once, whatever its size (seen: 0.5 to 1 MB): too much for the few sessions that a slow machine has. */
  const once = slow ? 1024 * 1024 : 0;
  /** The handshake threads give memory back when a burst is over, which they say nowhere: looks until it is so. */
  const grown = async (before: number, limit: number): Promise<number> => {
    for (let i = 0; i < 50 * timeFactor; i++) {
      if (residentBytes(proxy.workerPid()) - before < limit) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return residentBytes(proxy.workerPid()) - before;
  };

  test(
    `${label}: ${sessions} in one burst, all served, all small`,
    async (t) => {
      // What threads and libraries need once is no session's.
      await end(await burst(50));
      const before = residentBytes(proxy.workerPid());
      const clients = await burst(sessions);
      t.after(() => end(clients));
      await Promise.all(clients.map((client, i) => echo(client, `client ${i}`)));
      const limit = sessions * 1024 + once;
      const bytes = await grown(before, limit);
      assert.ok(bytes < limit, `${Math.round(bytes / sessions)} bytes a session`);
      await Promise.all(clients.map((client) => echo(client, 'still here')));
    },
    { deadline: 90_000 },
  );

  test(
    `${label}: a second burst finds the memory of the first`,
    async () => {
      const before = residentBytes(proxy.workerPid());
      for (let round = 0; round < 3; round++) await end(await burst(slow ? 200 : 500));
      const more = await grown(before, 4 << 20);
      assert.ok(more < 4 << 20, `grown by ${more >> 10} KiB`);
    },
    { deadline: 90_000 },
  );
}
