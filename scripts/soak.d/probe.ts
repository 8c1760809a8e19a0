// SPDX-License-Identifier: MIT
// A probe, in a process of its own: how long a small request over an open session takes, and a fresh handshake.
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import * as tls from 'node:tls';
import { nowUs } from '../bench.d/delays.ts';
import { serve } from '../bench.d/helper.ts';

export interface Reading {
  /** Milliseconds since 1970, when it began. */
  readonly at: number;
  readonly us: number;
}
export interface Readings {
  readonly requests: readonly Reading[];
  readonly handshakes: readonly Reading[];
  /** Sessions and handshakes that ended without our doing. */
  readonly lost: number;
}

const requestEveryMs = 50;
const handshakeEveryMs = 250;
const word = Buffer.alloc(64, 'p');
let [requests, handshakes]: [Reading[], Reading[]] = [[], []];
let lost = 0;
let going = false;
let port = 0;
let loops: Promise<unknown> = Promise.resolve();

const calls = {
  start(place: { readonly port: number }): void {
    ({ port } = place);
    going = true;
    loops = Promise.all([asking(), shaking()]);
  },
  async stop(): Promise<void> {
    going = false;
    await loops;
  },
  /** Since it was taken last; `lost`: in all. */
  take(): Readings {
    const taken = { requests, handshakes, lost };
    [requests, handshakes] = [[], []];
    return taken;
  },
};
export type ProbeCalls = typeof calls;

const connect = (): tls.TLSSocket => {
  const where = { port, host: '127.0.0.1', localAddress: '127.0.0.9', rejectUnauthorized: false };
  const socket = tls.connect(where);
  return socket.setNoDelay(true).on('error', () => {});
};

async function asking(): Promise<void> {
  while (going) {
    const socket = connect();
    try {
      await once(socket, 'secureConnect');
      socket.write('echo\n');
      while (going) {
        const at = Date.now();
        const started = nowUs();
        socket.write(word);
        await answer(socket);
        requests.push({ at, us: nowUs() - started });
        await wait(requestEveryMs);
      }
    } catch {
      lost++;
      await wait(requestEveryMs);
    }
    socket.destroy();
  }
}

function answer(socket: tls.TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    let missing = word.length;
    const onData = (chunk: Buffer) => {
      missing -= chunk.length;
      if (missing <= 0) done(resolve);
    };
    const onClose = () => done(() => reject(new Error('closed')));
    // It may have been while nobody waited.
    if (socket.destroyed) return reject(new Error('closed'));
    const done = (settle: () => void) => {
      socket.off('data', onData).off('close', onClose);
      settle();
    };
    socket.on('data', onData).on('close', onClose);
  });
}

async function shaking(): Promise<void> {
  while (going) {
    const at = Date.now();
    const started = nowUs();
    const socket = connect();
    await once(socket, 'secureConnect').then(
      () => handshakes.push({ at, us: nowUs() - started }),
      () => lost++,
    );
    socket.destroy();
    await wait(handshakeEveryMs);
  }
}

serve(calls);
