// SPDX-License-Identifier: MIT
// Clients in a process of their own: idle TLS sessions, streams, and streams that go straight to the backend without proxy or TLS,
// which show what of a delay is the machine's and the measurement's own.
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { Delays, nowUs } from './delays.ts';
import { serve } from './helper.ts';
import { hello, MessageStream, pace } from './message-stream.ts';

export interface OpenOptions {
  readonly port: number;
  readonly kind: 'idle' | 'stream' | 'direct';
  readonly ids: readonly number[];
  /** Bytes of a message. */
  readonly size: number;
}

/** A session that ended without our doing. */
export interface Cut {
  readonly id: number;
  readonly how: 'fin' | 'reset';
  readonly atUs: number;
}

interface Session {
  readonly id: number;
  readonly socket: net.Socket;
  cut?: Cut;
}

const atOnce = 32;
const pingBytes = 8;
const pingLimitMs = 10_000;
const delays = { proxied: new Delays(), direct: new Delays() };
const idle: Session[] = [];
const streaming: Session[] = [];
const streams: MessageStream[] = [];
let stop = () => {};

const calls = {
  /** Settles when all are open. */
  async open(options: OpenOptions): Promise<void> {
    const left = [...options.ids];
    const one = async () => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) await openSession(id, options);
    };
    await Promise.all(Array.from({ length: atOnce }, one));
  },
  start({ intervalMs }: { readonly intervalMs: number }): void {
    stop = pace(() => streams, intervalMs);
  },
  stop: () => stop(),
  take: () => ({ proxied: delays.proxied.take(), direct: delays.direct.take() }),
  ends: () => streams.map((stream) => stream.end()),
  cuts: (): Cut[] => [...idle, ...streaming].flatMap(({ cut }) => cut ?? []),
  /** Asks over every idle session; how many answer. */
  async ping(): Promise<number> {
    const all = await Promise.all(idle.map(answers));
    return all.filter(Boolean).length;
  },
  close(): void {
    for (const { socket } of [...idle, ...streaming]) socket.removeAllListeners('close').destroy();
  },
};
export type ClientCalls = typeof calls;

async function openSession(id: number, { port, kind, size }: OpenOptions): Promise<void> {
  const where = { port, host: '127.0.0.1' };
  const socket = kind === 'direct' ? net.connect(where) : tls.connect({ ...where, rejectUnauthorized: false });
  socket.setNoDelay(true);
  await once(socket, kind === 'direct' ? 'connect' : 'secureConnect');
  const session: Session = { id, socket };
  const cut = (how: Cut['how']) => {
    session.cut ??= { id, how, atUs: nowUs() };
  };
  socket.on('error', () => cut('reset'));
  socket.on('end', () => cut('fin'));
  socket.on('close', () => cut('fin'));
  socket.write(hello(kind === 'idle' ? 'echo' : 'stream', id));
  if (kind === 'idle') {
    idle.push(session);
    if (!(await answers(session))) throw new Error(`session ${id} does not answer`);
    return;
  }
  const stream = new MessageStream(id, socket, size, kind === 'direct' ? delays.direct : delays.proxied);
  socket.on('data', (chunk: Buffer) => stream.take(chunk));
  streams.push(stream);
  streaming.push(session);
}

function answers({ socket, cut }: Session): Promise<boolean> {
  if (cut !== undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    let missing = pingBytes;
    const done = (answered: boolean) => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose);
      resolve(answered);
    };
    const onData = (chunk: Buffer) => {
      missing -= chunk.length;
      if (missing <= 0) done(missing === 0);
    };
    const onClose = () => done(false);
    const timer = setTimeout(() => done(false), pingLimitMs);
    socket.on('data', onData).on('close', onClose);
    socket.write(Buffer.alloc(pingBytes, 1));
  });
}

serve(calls);
