// SPDX-License-Identifier: MIT
// Kinds of sessions whose backend the test is: half-closed, with full buffers, with keys that are owed, without a backend yet.
import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { push } from '../backends.ts';
import { KnownStream } from '../known-stream.ts';
import { alert, contentType } from '../tls-records.ts';
import type { Session } from '../variants.ts';
import { hear, type Kind, openEcho, part, rekeysBothWays } from './kind.ts';

const halfClosedByClient: Kind = {
  name: 'half-closed by its client',
  open: async (stage) => {
    const { client, server } = await stage.talk(stage.variant.version);
    client.sendData('question');
    client.sendAlert(alert.closeNotify);
    assert.is((await server.read(8)).toString(), 'question');
    assert.is(await server.end, 'fin');
    const answer = async (words: string): Promise<void> => {
      server.write(words);
      await hear(client, words);
    };
    await answer('a part of the answer');
    const finish = async (): Promise<void> => {
      // A truncation, had close_notify been forgotten.
      client.peer.finish();
      server.finish('the rest');
      assert.equal(await client.outcome(), { data: 'the rest', alerts: [alert.closeNotify], end: 'fin' });
    };
    return { client, between: () => answer('another part'), finish };
  },
};

const halfClosedByBackend: Kind = {
  name: 'half-closed by its backend',
  open: async (stage) => {
    const { client, server } = await stage.talk(stage.variant.version);
    server.finish('the whole answer');
    await hear(client, 'the whole answer');
    assert.equal((await client.read())?.content, Buffer.from([1, alert.closeNotify]));
    assert.is(await client.peer.end, 'fin');
    const goOn = async (): Promise<void> => {
      client.sendData('more');
      assert.is((await server.read(4)).toString(), 'more');
    };
    await goOn();
    const finish = async (): Promise<void> => {
      await goOn();
      client.sendAlert(alert.closeNotify);
      client.peer.finish();
      assert.is(await server.end, 'fin');
    };
    return { client, between: goOn, finish };
  },
};

/** A known stream that got stuck on its way. */
interface Stuck {
  readonly bytes: number;
  readonly sha256: string;
}

/** The backend answers until everything between it and the client, who does not read, is full. */
async function fillDown({ client, server }: Session): Promise<Stuck> {
  client.peer.socket.pause();
  return fill((chunk) => chunk, server.socket);
}

/** The client sends until everything between it and the backend, which does not read, is full. */
async function fillUp({ client, server }: Session): Promise<Stuck> {
  server.socket.pause();
  return fill((chunk) => client.seal(contentType.data, chunk), client.peer.socket);
}

async function fill(seal: (chunk: Buffer) => Buffer, socket: Session['server']['socket']): Promise<Stuck> {
  const stream = new KnownStream(5);
  let bytes = 0;
  await push(socket, () => {
    bytes += 16_384;
    return seal(stream.next(16_384));
  });
  return { bytes, sha256: stream.digest() };
}

async function drainDown({ client }: Session, { bytes, sha256 }: Stuck): Promise<void> {
  client.peer.socket.resume();
  assert.is(sha256Of(await client.readData(bytes)), sha256);
}

async function drainUp({ server }: Session, { bytes, sha256 }: Stuck): Promise<void> {
  server.socket.resume();
  assert.is(sha256Of(await server.read(bytes)), sha256);
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The client ends, then the backend. */
async function closeBoth({ client, server }: Session): Promise<void> {
  client.sendAlert(alert.closeNotify);
  assert.is(await server.end, 'fin');
  server.finish();
  assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
}

const slowBothWays: Kind = {
  name: 'with all buffers full both ways',
  open: async (stage) => {
    const session = await stage.talk(stage.variant.version);
    const [down, up] = await Promise.all([fillDown(session), fillUp(session)]);
    const finish = async (): Promise<void> => {
      await Promise.all([drainDown(session, down), drainUp(session, up)]);
      await closeBoth(session);
    };
    return { client: session.client, finish };
  },
};

const slowReader: Kind = {
  name: 'whose client reads a part after each upgrade',
  open: async (stage) => {
    const session = await stage.talk(stage.variant.version);
    const { client } = session;
    const { bytes, sha256 } = await fillDown(session);
    const hash = createHash('sha256');
    let read = 0;
    const readOn = async (least: number): Promise<void> => {
      client.peer.socket.resume();
      while (read < least) {
        const record = await client.read();
        assert.is(record?.type, contentType.data);
        hash.update(record?.content ?? '');
        read += record?.content.length ?? 0;
      }
    };
    const between = async (): Promise<void> => {
      await readOn(5 * 16_384);
      client.peer.socket.pause();
    };
    const finish = async (): Promise<void> => {
      await readOn(bytes);
      assert.is(hash.digest('hex'), sha256);
      await closeBoth(session);
    };
    return { client, between, finish };
  },
};

const goneBackend: Kind = {
  name: 'whose answer waits for a slow client after both sides have ended',
  open: async (stage) => {
    const session = await stage.talk(stage.variant.version);
    session.client.sendAlert(alert.closeNotify);
    assert.is(await session.server.end, 'fin');
    const stuck = await fillDown(session);
    session.server.finish();
    const finish = async (): Promise<void> => {
      await drainDown(session, stuck);
      assert.equal(await session.client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    };
    return { client: session.client, finish };
  },
};

const owedKeys: Kind = {
  name: 'that owes the client new keys and can not send them',
  fits: rekeysBothWays,
  open: async (stage) => {
    const session = await stage.talk(stage.variant.version);
    const { client, server } = session;
    const stuck = await fillDown(session);
    client.sendKeyUpdate(1);
    client.sendData('asked');
    assert.is((await server.read(5)).toString(), 'asked');
    const finish = async (): Promise<void> => {
      await drainDown(session, stuck);
      server.write('with new keys');
      await hear(client, 'with new keys');
      assert.equal(client.keyUpdates, [0]);
      await closeBoth(session);
    };
    return { client, finish };
  },
};

/** Records after which the proxy changes keys: more than fit into full buffers. */
export const keyUpdateRecords = 5000;

const wornKeys: Kind = {
  name: 'whose keys wear out on the way',
  fits: rekeysBothWays,
  open: async (stage) => {
    const session = await stage.talk(stage.variant.version);
    const { client, server } = session;
    const tell = async (records: number): Promise<void> => {
      client.peer.write(Buffer.concat(Array.from({ length: records }, () => client.seal(contentType.data, 'x'))));
      await server.read(records);
    };
    await tell(4000);
    const between = async (): Promise<void> => {
      await tell(300);
      assert.equal(client.keyUpdates, []);
    };
    const finish = async (): Promise<void> => {
      // Counted anew from either upgrade the limit would be 9000 or later. The kernel's number is looked at now and then only.
      await tell(4000);
      await client.keyUpdatesReceived(1);
      assert.equal(client.keyUpdates, [1]);
      client.sendKeyUpdate(0);
      await closeBoth(session);
    };
    return { client, between, finish };
  },
};

const connecting: Kind = {
  name: 'that waits for its backend with a PROXY header and data to be sent',
  open: async (stage) => {
    const client = await openEcho(stage, {}, 'sleeper');
    client.sendData('as soon as you can');
    const header = `PROXY TCP4 127.0.0.1 127.0.0.1 ${client.port} ${client.peer.socket.remotePort}\r\n`;
    const finish = async (): Promise<void> => {
      await hear(client, `${header}as soon as you can`);
      await part(client);
    };
    return { client, between: async () => stage.wake(), finish };
  },
};

export const kindsWithABackend: readonly Kind[] = [
  halfClosedByClient,
  halfClosedByBackend,
  slowBothWays,
  slowReader,
  goneBackend,
  owedKeys,
  wornKeys,
  connecting,
];
