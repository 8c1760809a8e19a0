// SPDX-License-Identifier: MIT
// RFC 8446 section 4.6.1, RFC 5077. The keys of the tickets outlive the worker.
// In the kernel lab on the newest alone: a ticket says nothing of who carries the records.
// In the kernel lab never one direction alone: a ticket says nothing of who carries the records.
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { test } from '../helpers/suite.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { sharedProxy, variants } from '../helpers/variants.ts';

const backend = await startEcho();
const listeners = [{ backend: backend.address }];
const strange = await sharedProxy({ listeners });
const without = await sharedProxy({ listeners, config: { tls: { tickets: false } } });

interface Visit {
  readonly session: Buffer;
  readonly reused: boolean;
}

/** One exchange of data; gives the ticket that came with it. */
async function visit(port: number, version: '1.2' | '1.3', session?: Buffer): Promise<Visit> {
  const { socket, peer } = await tlsConnect({ port, ...only(version), ...(session ? { session } : {}) });
  // A resumed TLS 1.2 session need not get a new one.
  const ticket = version === '1.3' ? once(socket, 'session') : undefined;
  socket.write('ping');
  assert.is((await peer.read(4)).toString(), 'ping');
  const [fresh] = (await ticket) ?? [socket.getSession()];
  const reused = socket.isSessionReused();
  socket.destroy();
  return { session: fresh as Buffer, reused };
}

for (const { proxy, version, label } of await variants({ listeners })) {
  test(`${label}: a ticket resumes, again and again`, async () => {
    let last = await visit(proxy.port, version);
    assert.not(last.reused);
    for (let i = 0; i < 3; i++) {
      last = await visit(proxy.port, version, last.session);
      assert.ok(last.reused);
    }
    await proxy.log.waitFor({ event: 'auth', outcome: 'granted', resumed: 'true' });
  });

  if (version === '1.3') {
    test(`${label}: a client that never asks gets its ticket all the same`, async () => {
      const { socket } = await tlsConnect({ port: proxy.port, ...only(version) });
      const [session] = await once(socket, 'session');
      socket.destroy();
      assert.ok((await visit(proxy.port, version, session as Buffer)).reused);
    });
  }

  test(`${label}: a ticket of another proxy ends in a full handshake`, async () => {
    const { session } = await visit(strange.port, version);
    assert.not((await visit(proxy.port, version, session)).reused);
  });

  test(`${label}: without tickets nothing is resumed`, async () => {
    const { socket, peer } = await tlsConnect({ port: without.port, ...only(version) });
    socket.write('ping');
    await peer.read(4);
    const session = socket.getSession();
    socket.destroy();
    const second = await tlsConnect({ port: without.port, ...only(version), ...(session ? { session } : {}) });
    assert.not(second.socket.isSessionReused());
    second.socket.destroy();
  });

  test(`${label}: a ticket of a killed worker resumes with the next one`, async () => {
    const { session } = await visit(proxy.port, version);
    const from = proxy.log.lines.length;
    process.kill(proxy.workerPid(), 'SIGKILL');
    await proxy.log.waitFor({ event: 'worker', worker_state: 'spawned' }, { from });
    assert.ok((await visit(proxy.port, version, session)).reused);
  });
}
