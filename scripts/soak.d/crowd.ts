// SPDX-License-Identifier: MIT
// A crowd of idle sessions, in a process of its own: as many as asked for, each of which has had an answer.
import * as tls from 'node:tls';
import { serve } from '../bench.d/helper.ts';

export interface CrowdCounts {
  readonly open: number;
  /** Connecting, or waiting for the first answer. */
  readonly coming: number;
  /** Open ones that ended without our doing. */
  readonly lost: number;
  /** Those that did not even come. */
  readonly refused: number;
  /** Why, the last one. */
  readonly why: string;
}

interface Member {
  readonly socket: tls.TLSSocket;
  state: 'coming' | 'open' | 'gone';
}

const atOnce = 32;
const answerLimitMs = 20_000;
const word = Buffer.from('idle....');
const members = new Set<Member>();
let [wanted, port, lost, refused] = [0, 0, 0, 0];
let localAddress = '127.0.0.1';
let why = '';

const calls = {
  at(place: { readonly port: number; readonly localAddress: string }): void {
    ({ port, localAddress } = place);
  },
  /** So many, from now on; those that are too many leave, the last first, half of them in order. */
  want(count: number): void {
    wanted = count;
    const surplus = [...members].slice(count);
    for (const [index, member] of surplus.entries()) {
      members.delete(member);
      member.state = 'gone';
      if (index % 2 === 0) member.socket.end();
      else member.socket.destroy();
    }
    fill();
  },
  /** No more come; those that are on their way may. */
  enough(): void {
    wanted = members.size;
  },
  counts: (): CrowdCounts => {
    const open = [...members].filter(({ state }) => state === 'open').length;
    return { open, coming: members.size - open, lost, refused, why };
  },
  /** Asks over every session that is open; how many do not answer. */
  async ping(): Promise<number> {
    const all = await Promise.all([...members].filter(({ state }) => state === 'open').map(answers));
    return all.filter((answered) => !answered).length;
  },
};
export type CrowdCalls = typeof calls;

function fill(): void {
  const coming = [...members].filter(({ state }) => state === 'coming').length;
  for (let i = coming; i < atOnce && members.size < wanted; i++) come();
}

function come(): void {
  const where = { port, host: '127.0.0.1', localAddress, rejectUnauthorized: false };
  const socket = tls.connect(where);
  const member: Member = { socket, state: 'coming' };
  members.add(member);
  const end = (how: string) => {
    if (member.state === 'gone') return;
    if (member.state === 'open') lost++;
    else refused++;
    why = `${member.state}: ${how}`;
    member.state = 'gone';
    members.delete(member);
    socket.destroy();
    // Not at once: who is refused would try again and again.
    setTimeout(fill, 50);
  };
  socket
    .on('error', ({ message }) => end(message))
    .on('end', () => end('FIN'))
    .on('close', () => end('closed'));
  socket.on('secureConnect', async () => {
    socket.write('echo\n');
    if (!(await answers(member))) return end('no answer');
    if (member.state !== 'coming') return;
    member.state = 'open';
    fill();
  });
}

function answers({ socket }: Member): Promise<boolean> {
  return new Promise((resolve) => {
    if (socket.destroyed) return resolve(false);
    let answer = Buffer.alloc(0);
    const done = (answered: boolean) => {
      clearTimeout(timer);
      socket.off('data', onData).off('close', onClose);
      resolve(answered);
    };
    const onData = (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk]);
      if (answer.length >= word.length) done(answer.equals(word));
    };
    const onClose = () => done(false);
    const timer = setTimeout(() => done(false), answerLimitMs);
    socket.on('data', onData).on('close', onClose).write(word);
  });
}

serve(calls);
