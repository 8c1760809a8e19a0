// SPDX-License-Identifier: MIT
// Kinds of sessions whose backend sends back what comes.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { isKernel } from '../engines.ts';
import type { RawTlsClient } from '../raw-tls-client.ts';
import { only, tlsConnect } from '../tls-client.ts';
import { alert, type Suite, suites, suitesOnRequest } from '../tls-records.ts';
import {
  halves,
  hear,
  isTls13,
  type Kind,
  type Living,
  openEcho,
  type Place,
  part,
  rekeysBothWays,
  type Stage,
  say,
} from './kind.ts';

const idle: Kind = {
  name: 'idle',
  open: async (stage) => {
    const client = await openEcho(stage);
    await say(client, 'before');
    return talkative(client);
  },
};

const silent: Kind = {
  name: 'silent from the start',
  open: async (stage) => {
    const client = await openEcho(stage);
    const finish = async (): Promise<void> => {
      await say(client, 'the first word');
      await part(client);
    };
    return { client, finish };
  },
};

const busy: Kind = {
  name: 'busy both ways',
  open: async (stage) => {
    const client = await openEcho(stage);
    const [sent, came] = [createHash('sha256'), createHash('sha256')];
    const chunk = Buffer.alloc(16_000);
    let stopping = false;
    const stream = (async () => {
      for (let answered = 0; !stopping; ) {
        chunk.writeUInt32BE(client.payloadOut, 0);
        sent.update(chunk);
        client.sendData(chunk);
        came.update(await client.readData(chunk.length));
        for (; answered < client.keyUpdates.length; answered++)
          if (client.keyUpdates[answered] === 1) client.sendKeyUpdate(0);
      }
    })();
    const finish = async (): Promise<void> => {
      stopping = true;
      await stream;
      assert.is(came.digest('hex'), sent.digest('hex'));
      await part(client);
    };
    return { client, finish };
  },
};

/** With the length of the header 5 bytes and the explicit nonce of TLS 1.2 8 behind it. */
const cuts = [
  [3, 'within the header of a record'],
  [9, 'within the first bytes of a record'],
  [40, 'within the tag of a record'],
] as const;

const partialRecords: readonly Kind[] = cuts.map(([at, where]) => ({
  name: `stopped ${where}`,
  open: async (stage) => {
    const client = await openEcho(stage);
    const { begin, complete } = halves(client);
    const words = 'a record of thirty bytes or so';
    await say(client, 'whole');
    begin(words, at);
    const between = async (): Promise<void> => {
      complete();
      await hear(client, words);
      begin(words, at);
    };
    const finish = async (): Promise<void> => {
      complete();
      await hear(client, words);
      await part(client);
    };
    return { client, between, finish };
  },
}));

const halfKeyUpdate: Kind = {
  name: 'stopped within a KeyUpdate',
  fits: rekeysBothWays,
  open: async (stage) => {
    const client = await openEcho(stage);
    await say(client, 'before');
    const record = client.sealKeyUpdate(1);
    client.peer.write(record.subarray(0, 7));
    const between = async (): Promise<void> => {
      client.peer.write(record.subarray(7));
      await say(client, 'with new keys');
      assert.equal(client.keyUpdates, [0]);
    };
    return { ...talkative(client), between };
  },
};

const halfCloseNotify: Kind = {
  name: 'stopped within close_notify',
  open: async (stage) => {
    const client = await openEcho(stage);
    await say(client, 'before');
    const record = client.seal(21, Buffer.from([1, alert.closeNotify]));
    client.peer.write(record.subarray(0, 7));
    const finish = async (): Promise<void> => {
      client.peer.write(record.subarray(7));
      assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
    };
    return { client, finish };
  },
};

const rekeying: Kind = {
  name: 'with new keys both ways before and after',
  fits: rekeysBothWays,
  open: async (stage) => {
    const client = await openEcho(stage);
    let updates = 0;
    const rekey = async (): Promise<void> => {
      client.sendKeyUpdate(1);
      await say(client, `generation ${client.writeKeys.generation}`);
      assert.is(client.keyUpdates.length, ++updates);
    };
    const rekeyTwice = async (): Promise<void> => {
      await rekey();
      await rekey();
    };
    await rekeyTwice();
    const finish = async (): Promise<void> => {
      await rekeyTwice();
      assert.is(client.readKeys.generation, 6);
      await part(client);
    };
    return { client, between: rekeyTwice, finish };
  },
};

const bySuite = (suite: Suite): Kind => ({
  name: suite.name,
  fits: ({ version }) => version === suite.version,
  open: async (stage) => {
    const place = suitesOnRequest.includes(suite) ? 'ccm' : 'echo';
    const client = await openEcho(stage, { suite }, place);
    const { begin, complete } = halves(client);
    await say(client, suite.name);
    begin('partial', 10);
    const between = async (): Promise<void> => {
      complete();
      await hear(client, 'partial');
      if (rekeysBothWays(stage.variant)) client.sendKeyUpdate(1);
      await say(client, 'after the first');
    };
    return { ...talkative(client), between };
  },
});

const through = (place: Place, name: string): Kind => ({
  name,
  // The kernel has TLS for TCP only.
  fits: ({ engine }) => place !== 'unixListener' || engine.name === 'userspace',
  open: async (stage) => {
    const client = await openEcho(stage, {}, place);
    await say(client, 'before');
    const living = talkative(client);
    return place === 'unixListener' ? { between: living.between, finish: living.finish } : living;
  },
});

/** Bytes in a direction after which the kernel has it, where the listener is `later`. */
export const offloadAfter = 50_000;

const promotedLater: Kind = {
  name: 'that the kernel gets between two upgrades',
  fits: ({ engine }) => isKernel(engine),
  open: async (stage) => {
    const client = await openEcho(stage, {}, 'later');
    await say(client, 'before');
    const between = async (): Promise<void> => {
      for (let i = 0; i < 10; i++) await say(client, 'x'.repeat(offloadAfter / 5));
    };
    // Which engine it had is looked at where its line in the log is.
    return { ...talkative(client), between };
  },
};

const ticket: Kind = {
  name: 'resumed with a ticket of before',
  moves: 'never',
  open: async ({ variant: { version }, at }) => {
    const options = { ...at('echo'), ...only(version) };
    const first = await tlsConnect(options);
    const given = version === '1.3' ? once(first.socket, 'session') : undefined;
    first.socket.write('ping');
    await first.peer.read(4);
    const [session] = ((await given) ?? [first.socket.getSession()]) as [Buffer];
    first.socket.destroy();
    const resume = async (): Promise<void> => {
      const { peer, socket } = await tlsConnect({ ...options, session });
      assert.ok(socket.isSessionReused());
      socket.write('pong');
      assert.is((await peer.read(4)).toString(), 'pong');
      socket.destroy();
    };
    return { between: resume, finish: resume };
  },
};

/** Says something after each upgrade, with keys that were not changed between. */
function talkative(client: RawTlsClient): Required<Living> {
  const finish = async (): Promise<void> => {
    await say(client, 'after the second');
    await part(client);
  };
  return { client, between: () => say(client, 'after the first'), finish };
}

/** Handshakes that an upgrade finds unfinished end in the old worker; their sessions then follow to the new one. */
const inTheHandshake = (name: string, at: number): Kind => ({
  name,
  moves: 'after the first upgrade',
  open: async (stage) => lateComer(stage, openEcho(stage, { pause: { at, until: stage.upgraded } })),
});

const unfinished: Kind = {
  name: 'that waited for Finished',
  moves: 'after the first upgrade',
  open: async (stage) => {
    const client = await openEcho(stage, { holdFinished: true });
    void stage.upgraded.then(() => client.peer.write(client.heldFlight));
    return lateComer(stage, Promise.resolve(client));
  },
};

function lateComer({ variant }: Stage, connecting: Promise<RawTlsClient>): Living {
  connecting.catch(() => {});
  const between = async (): Promise<void> => say(await connecting, 'at last');
  const finish = async (): Promise<void> => {
    const client = await connecting;
    if (isTls13(variant) && variant.rekeys.rx && variant.rekeys.tx) client.sendKeyUpdate(1);
    await say(client, 'after the second');
    await part(client);
  };
  return { between, finish };
}

export const kindsWithAnEcho: readonly Kind[] = [
  idle,
  silent,
  busy,
  ...partialRecords,
  halfKeyUpdate,
  halfCloseNotify,
  rekeying,
  ...[...suites, ...suitesOnRequest].map(bySuite),
  through('v6', 'over IPv6'),
  through('unixBackend', 'with a backend at a unix socket'),
  through('unixListener', 'through a unix socket'),
  promotedLater,
  ticket,
  inTheHandshake('that had sent nothing', 0),
  inTheHandshake('that had sent half a ClientHello', 100),
  unfinished,
];
