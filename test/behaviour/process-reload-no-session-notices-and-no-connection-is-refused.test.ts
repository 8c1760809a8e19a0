// SPDX-License-Identifier: MIT
// Streams run both ways through many reloads, whatever changes; who connects meanwhile is served.
// Also with sanitizers: listeners change under their threads.
// Not in the kernel lab: a reload does not touch sessions, whoever carries their records.
import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { rsa } from '../helpers/certificates.ts';
import { engines } from '../helpers/engines.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { startProxy, versions } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { change, keepConnecting, reload } from '../helpers/reload.ts';
import { test } from '../helpers/suite.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { withEngine } from '../helpers/variants.ts';

const echo = await startEcho();
const hashing = await startBackend({ taking: 'hash' });
const reloads = 12;
const chunk = 1 << 16;

for (const engine of engines) {
  for (const version of versions) {
    test(
      `TLS ${version}, ${engine.label}: an upload and an echo go on through ${reloads} reloads`,
      async (t) => {
        const listeners = [{ backend: hashing.address }, { backend: echo.address }];
        const proxy = await startProxy(withEngine({ listeners }, engine));
        t.after(() => proxy.stop());
        const upload = await tlsConnect({ port: proxy.port, ...only(version) });
        const server = await hashing.next();
        const idle = await RawTlsClient.connect({ port: proxy.ports[1] as number, version });
        const attempts = keepConnecting(proxy.ports[1] as number);

        const sent = new KnownStream(1);
        let reloading = true;
        const sending = (async () => {
          while (reloading) {
            const bytes = sent.next(chunk);
            await new Promise<void>((resolve) => upload.socket.write(bytes, () => resolve()));
          }
          upload.socket.end();
        })();
        for (let i = 0; i < reloads; i++) {
          await change(proxy, (document) => {
            for (const listener of document.listeners) {
              listener.timeouts = { idle: `${i + 60}s` };
              listener.tls = { alpn: i % 2 === 0 ? ['h2'] : [] };
              if (i === 5) listener.certificates = [rsa];
            }
          });
          idle.sendData(`ping ${i}`);
          assert.is((await idle.readData(`ping ${i}`.length)).toString(), `ping ${i}`);
          await attempts.more();
        }
        reloading = false;
        await sending;
        assert.is(await server.hash(), sent.digest());
        assert.ok((await attempts.stop()) >= reloads, 'clients connected meanwhile');
        idle.peer.reset();
        upload.socket.destroy();
        server.socket.destroy();
        assert.is(proxy.log.all({ event: 'worker', worker_state: 'dead' }).length, 0);
      },
      { deadline: 60_000 },
    );
  }
}

test('who waits in the accept queue while the worker hangs is served under the new configuration', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  process.kill(proxy.workerPid(), 'SIGSTOP');
  const clients = Array.from({ length: 20 }, () => tlsConnect({ port: proxy.port }));
  const changed = change(proxy, ({ listeners: [first] }) => {
    Object.assign(first as object, { timeouts: { idle: '5m' } });
  });
  // The queue is full of them before the worker looks again.
  await new Promise((resolve) => setTimeout(resolve, 100));
  process.kill(proxy.workerPid(), 'SIGCONT');
  await changed;
  for (const client of clients) {
    const { peer, socket } = await client;
    socket.write('hello');
    assert.is((await peer.read(5)).toString(), 'hello');
    socket.destroy();
  }
});

test('tickets of before a reload are accepted after it', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const first = await tlsConnect({ port: proxy.port });
  const ticket = new Promise<Buffer>((resolve) => first.socket.once('session', resolve));
  first.socket.write('x');
  await first.peer.read(1);
  const session = await ticket;
  first.socket.destroy();
  await change(proxy, (document) => Object.assign(document, { max_connections: 1_000 }));
  const second = await tlsConnect({ port: proxy.port, session });
  assert.ok(second.socket.isSessionReused());
  second.socket.destroy();
});

test('a reload that finds nothing new changes nothing', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const line = await reload(proxy);
  assert.is(line.outcome, 'unchanged');
});
