// SPDX-License-Identifier: MIT
// A visitor in a process of its own, who connects all the time: handshake, a question, its answer, close.
import * as tls from 'node:tls';
import { nowUs } from './delays.ts';
import { serve } from './helper.ts';
import { hello } from './message-stream.ts';

export interface Visits {
  readonly answered: number;
  /** Nobody listened (ECONNREFUSED). */
  readonly refused: number;
  /** Connected, and then reset or closed without an answer. */
  readonly reset: number;
  /** Milliseconds from connect to the answer. */
  readonly longestMs: number;
}

const limitMs = 10_000;
const visits = { answered: 0, refused: 0, reset: 0, longestMs: 0 };
let going = false;
let ended: Promise<void> = Promise.resolve();

const calls = {
  /** One after the other, with `pauseMs` between them. */
  start({ port, pauseMs }: { readonly port: number; readonly pauseMs: number }): void {
    going = true;
    ended = (async () => {
      while (going) {
        const started = nowUs();
        visits[await visit(port)]++;
        visits.longestMs = Math.max(visits.longestMs, (nowUs() - started) / 1000);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    })();
  },
  async stop(): Promise<Visits> {
    going = false;
    await ended;
    return visits;
  },
};
export type VisitorCalls = typeof calls;

function visit(port: number): Promise<'answered' | 'refused' | 'reset'> {
  return new Promise((resolve) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
    const done = (how: 'answered' | 'refused' | 'reset') => {
      socket.destroy();
      resolve(how);
    };
    socket.setTimeout(limitMs, () => done('reset'));
    socket.on('error', ({ code }: NodeJS.ErrnoException) => done(code === 'ECONNREFUSED' ? 'refused' : 'reset'));
    socket.on('close', () => done('reset'));
    socket.on('secureConnect', () => socket.write(Buffer.concat([hello('echo', 0), Buffer.from('?')])));
    socket.on('data', () => done('answered'));
  });
}

serve(calls);
