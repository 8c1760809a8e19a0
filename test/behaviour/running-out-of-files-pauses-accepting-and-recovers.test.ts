// SPDX-License-Identifier: MIT
// The worker's limit is lowered under it, as nobody should: what it starts with always leaves room. EMFILE must neither spin nor end anything that runs; who waits is served once descriptors are free again.
// In the kernel lab on the newest alone: what a descriptor is needed for is the same with every kernel.
// In the kernel lab never one direction alone: one direction needs no descriptor that both do not.

import { execFileSync } from 'node:child_process';
import { connect, type TLSSocket } from 'node:tls';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { Peer } from '../helpers/peer.ts';
import { cpuSeconds, userOf } from '../helpers/processes.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { only, type TlsClient, tlsConnect } from '../helpers/tls-client.ts';
import type { TlsVersion } from '../helpers/tls-records.ts';
import { variants } from '../helpers/variants.ts';

const backend = await startEcho();
const options = {
  listeners: [{ backend: backend.address, timeouts: { handshake: '30s' } }],
};

// A slow machine has them with one version: descriptors are the session's, not TLS's.
const some = timeFactor > 1 ? (['1.3'] as const) : undefined;

/** While descriptors of those who have gone are still being closed, a try may be reset; one of the next is served. */
async function isServed(port: number, version: TlsVersion, first: Promise<TlsClient>): Promise<void> {
  for (let next = first; ; next = tlsConnect({ port, ...only(version) })) {
    const answer = await next.then(exchange).catch((error: Error) => error);
    if (typeof answer === 'string') return assert.is(answer, 'served');
  }
}

async function exchange({ socket, peer }: TlsClient): Promise<string> {
  socket.write('served');
  const answer = await peer.read(6);
  socket.destroy();
  return answer.toString();
}

for (const { proxy, version, label } of await variants(options, some)) {
  // Without CAP_SYS_RESOURCE only the worker's own user may.
  const worker = proxy.workerPid();
  execFileSync('prlimit', ['--pid', String(worker), '--nofile=150:150'], userOf(worker));

  test(`${label}: more clients than descriptors`, async (t) => {
    const inside = await tlsConnect({ port: proxy.port, ...only(version) });
    inside.socket.write('first in');
    assert.is((await inside.peer.read(8)).toString(), 'first in');
    const crowd = await Promise.all(Array.from({ length: 400 }, () => Peer.connect({ port: proxy.port })));
    t.after(() => {
      for (const { socket } of crowd) socket.destroy();
      inside.socket.destroy();
    });
    inside.socket.write('still here');
    assert.is((await inside.peer.read(10)).toString(), 'still here');
    const before = cpuSeconds(worker);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const used = cpuSeconds(worker) - before;
    assert.ok(used < 0.2 * timeFactor, `${used} s of CPU in a second of waiting`);

    const late = tlsConnect({ port: proxy.port, ...only(version) });
    for (const peer of crowd) peer.reset();
    await isServed(proxy.port, version, late);
    inside.socket.write('me too');
    assert.is((await inside.peer.read(6)).toString(), 'me too');
  });

  test(`${label}: a crowd of whole sessions`, async () => {
    const sockets: TLSSocket[] = [];
    let served = 0;
    const some = new Promise<void>((resolve) => {
      for (let i = 0; i < 200; i++) {
        const socket = connect({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false, ...only(version) });
        sockets.push(socket);
        // Refused or reset in the crush is no fault here.
        socket.on('error', () => {}).write('x');
        socket.once('data', () => ++served === 20 && resolve());
      }
    });
    await some;
    for (const socket of sockets) socket.destroy();
    await backend.empty();
    await isServed(proxy.port, version, tlsConnect({ port: proxy.port, ...only(version) }));
  });
}
