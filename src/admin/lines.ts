// SPDX-License-Identifier: MIT
// Lines out of a socket's bytes, of which none may be too long.
import type { Socket } from 'node:net';
import { longestLine } from './protocol.ts';

/** Each line without its end. Throws when one is too long, and what the socket's error is. */
export async function* linesOf(socket: Socket): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      yield rest.subarray(0, end).toString('utf8');
      rest = rest.subarray(end + 1);
    }
    if (rest.length > longestLine) throw new Error('a line is too long');
  }
}
