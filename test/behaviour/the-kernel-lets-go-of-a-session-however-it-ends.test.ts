// SPDX-License-Identifier: MIT
// While the proxy goes on: what the kernel counts as open returns to where it was, and so do the proxy's descriptors.
import * as assert from 'uvu/assert';
import { push, startBackend } from '../helpers/backends.ts';
import { inKernel, inKernelAgain } from '../helpers/kernel-counters.ts';
import { openFiles } from '../helpers/processes.ts';
import { test } from '../helpers/suite.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, type Session, type Variant, variants } from '../helpers/variants.ts';

type End = readonly [what: string, reason: string, end: (session: Session, variant: Variant) => unknown];

const backend = await startBackend({ taking: 'count' });
const options = {
  listeners: [
    { name: 'patient', backend: backend.address },
    { name: 'idle', backend: backend.address, timeouts: { idle: '1s' } },
    { name: 'half-closed', backend: backend.address, timeouts: { half_closed: '1s' } },
  ],
};
const all = await variants(options);

async function orderly({ client, server }: Session): Promise<void> {
  client.sendAlert(alert.closeNotify);
  await server.end;
  server.finish();
  await client.outcome();
}

const both: readonly End[] = [
  ['close_notify both ways', 'closed', orderly],
  [
    'the backend ends first',
    'closed',
    async ({ client, server }) => {
      server.finish('answer');
      while ((await client.read())?.type !== contentType.alert);
      client.sendAlert(alert.closeNotify);
      client.peer.finish();
    },
  ],
  [
    'FIN of both without close_notify',
    'truncated',
    ({ client, server }) => {
      client.peer.finish();
      server.finish();
    },
  ],
  [
    'FIN in the middle of a record',
    'truncated',
    ({ client, server }) => {
      client.peer.finish(client.seal(contentType.data, Buffer.alloc(5000)).subarray(0, 3000));
      server.finish();
    },
  ],
  ['RST of the client', 'client_reset', ({ client }) => client.peer.reset()],
  ['RST of the backend', 'backend_reset', ({ server }) => server.reset()],
  [
    'RST of the client with the answer stuck',
    'client_reset',
    async ({ client, server }) => {
      client.peer.socket.pause();
      await push(server.socket);
      client.peer.reset();
    },
  ],
  [
    'RST of the backend with the answer stuck',
    'backend_reset',
    async ({ client, server }) => {
      client.peer.socket.pause();
      await push(server.socket);
      server.reset();
      client.peer.socket.resume();
    },
  ],
  ['a fatal alert', 'client_alert', ({ client }) => client.sendAlert(alert.decodeError)],
  ['a broken tag', 'protocol_fault', ({ client }) => client.sendData('x', { flip: true })],
  ['a broken header', 'protocol_fault', ({ client }) => client.peer.write(Buffer.alloc(100, 255))],
  [
    'a broken record with the answer stuck, and RST',
    'protocol_fault',
    async ({ client, server }) => {
      client.peer.socket.pause();
      await push(server.socket);
      client.sendData('x', { flip: true });
      await server.end;
      client.peer.reset();
    },
  ],
  ['a record type that is none', 'protocol_fault', ({ client }) => client.send(99, 'x')],
  ['silence', 'idle_timeout', () => {}],
  ['half closed for too long', 'half_closed_timeout', ({ client }) => client.sendAlert(alert.closeNotify)],
];

for (const variant of all) {
  const { proxy, version, rekeys } = variant;
  const ends = [...both];
  if (version === '1.3') {
    ends.push(['a KeyUpdate that says nothing known', 'protocol_fault', ({ client }) => client.sendKeyUpdate(7)]);
    if (!rekeys.rx) ends.push(['a KeyUpdate', 'no_rekey', ({ client }) => client.sendKeyUpdate(1)]);
    else if (!rekeys.tx)
      ends.push(['a KeyUpdate that asks for ours', 'no_rekey', ({ client }) => client.sendKeyUpdate(1)]);
    else {
      ends.push([
        'in order, some generations later',
        'closed',
        async (session) => {
          for (let i = 0; i < 5; i++) session.client.sendKeyUpdate(1);
          session.client.sendData('x');
          await session.client.keyUpdatesReceived(1);
          await orderly(session);
        },
      ]);
    }
  }

  test(`${variant.label}: ${ends.length} ways to end`, async () => {
    const before = inKernel();
    const files = openFiles(proxy.workerPid());
    // One by one, so that each meets its own backend; those that are to time out last.
    const sessions: { what: string; reason: string; end: End[2]; session: Session }[] = [];
    const open = async ([what, reason, end]: End, port = 0): Promise<void> => {
      const session = await openSession({ ...variant, proxy: { ...proxy, port } }, backend);
      const { peer } = session.client;
      void peer.end.then(() => peer.socket.writableEnded || peer.finish());
      sessions.push({ what, reason, end, session });
    };
    const timesOut = ([, reason]: End): boolean => reason.endsWith('_timeout');
    for (const end of ends.filter((each) => !timesOut(each))) await open(end, proxy.ports[0]);
    await inKernelAgain({
      rx: before.rx + (variant.rx === 'kernel' ? sessions.length : 0),
      tx: before.tx + (variant.tx === 'kernel' ? sessions.length : 0),
    });
    for (const end of ends.filter(timesOut)) await open(end, proxy.ports[end[1] === 'idle_timeout' ? 1 : 2]);
    await Promise.all(
      sessions.map(async ({ what, reason, end, session }) => {
        await end(session, variant);
        const line = await proxy.sessionEnd(session.client.port, session.client.listenPort);
        assert.is(line.reason, reason, what);
      }),
    );
    for (const { session } of sessions) {
      session.client.peer.socket.destroy();
      session.server.socket.destroy();
    }
    await inKernelAgain(before);
    // The log tells the end of a session before its descriptors are closed; those of a pipe may stay.
    while (files !== undefined && (openFiles(proxy.workerPid()) ?? 0) > files + 2)
      await new Promise((resolve) => setTimeout(resolve, 10));
  });
}
