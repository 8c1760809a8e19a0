// SPDX-License-Identifier: MIT
// Runs alone: it measures memory. Who does not read stops who sends, and what waits in between is the kernel's socket buffers and little of ours.
// In the kernel lab never one direction alone: one direction is held back in each test.
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { push, startBackend } from '../helpers/backends.ts';
import { residentBytes } from '../helpers/processes.ts';
import { test } from '../helpers/suite.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startBackend({ taking: 'count' });
/** What the sockets on both sides of the proxy may hold, which every machine sets for itself, and 4 MiB. */
const most = 2 * (longest('rmem') + longest('wmem')) + (4 << 20);

for (const { proxy, version, label } of await variants({ listeners: [{ backend: backend.address }] })) {
  test(`${label}: a client that does not read`, async () => {
    const { socket } = await tlsConnect({ port: proxy.port, ...only(version), taking: 'count' });
    const server = await backend.next();
    socket.pause();
    const before = residentBytes(proxy.workerPid());
    const sent = await push(server.socket);
    assert.ok(sent < most, `${sent >> 20} MiB`);
    const grown = residentBytes(proxy.workerPid()) - before;
    assert.ok(grown < 2 << 20, `the worker grew by ${grown >> 10} KiB`);
    socket.destroy();
    await server.end;
  });

  test(`${label}: a backend that does not read`, async () => {
    const { socket } = await tlsConnect({ port: proxy.port, ...only(version), taking: 'count' });
    const server = await backend.next();
    server.socket.pause();
    const before = residentBytes(proxy.workerPid());
    const sent = await push(socket);
    assert.ok(sent < most, `${sent >> 20} MiB`);
    const grown = residentBytes(proxy.workerPid()) - before;
    assert.ok(grown < 2 << 20, `the worker grew by ${grown >> 10} KiB`);
    socket.destroy();
    server.reset();
  });

  test(`${label}: a hundred clients that do not read cost bounded memory`, hundred, { deadline: 60_000 });
  async function hundred(): Promise<void> {
    const before = residentBytes(proxy.workerPid());
    const clients = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const { socket } = await tlsConnect({ port: proxy.port, ...only(version), taking: 'count' });
        socket.pause();
        return socket;
      }),
    );
    const servers = await Promise.all(clients.map(() => backend.next()));
    await Promise.all(servers.map((server) => push(server.socket)));
    const each = (residentBytes(proxy.workerPid()) - before) / clients.length;
    assert.ok(each < 512 << 10, `${Math.round(each / 1024)} KiB each`);
    for (const socket of clients) socket.destroy();
    await Promise.all(servers.map((server) => server.end));
  }

  test(`${label}: once it reads, everything comes`, async () => {
    const { socket, peer } = await tlsConnect({ port: proxy.port, ...only(version), taking: 'count' });
    const server = await backend.next();
    socket.pause();
    const sent = await push(server.socket);
    socket.resume();
    server.finish();
    assert.is(await peer.end, 'fin');
    // push gave up on one chunk, which still went out.
    assert.is(peer.received, sent + (1 << 16));
    socket.destroy();
  });
}

/** The longest that buffers of TCP grow to: to receive (rmem) or to send (wmem). */
function longest(kind: 'rmem' | 'wmem'): number {
  return Number(readFileSync(`/proc/sys/net/ipv4/tcp_${kind}`, 'latin1').trim().split(/\s+/)[2]);
}
