// SPDX-License-Identifier: MIT
// The service behind the proxy, in a process of its own: echoes to idle sessions, and is the other end of every stream.
import { once } from 'node:events';
import * as net from 'node:net';
import { Delays } from './delays.ts';
import { serve } from './helper.ts';
import { firstDirectId, helloBytes, kinds, MessageStream, pace } from './message-stream.ts';

const delays = { proxied: new Delays(), direct: new Delays() };
const streams = new Map<number, MessageStream>();
let size = 0;
let stop = () => {};

const calls = {
  /** `size` of a message in bytes, `intervalMs` between two of a stream. Gives the port. */
  async listen({ size: bytes, intervalMs }: { readonly size: number; readonly intervalMs: number }): Promise<number> {
    size = bytes;
    const server = net.createServer({ noDelay: true }, answer);
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
    await once(server, 'listening');
    let list: readonly MessageStream[] = [];
    stop = pace(() => {
      if (list.length !== streams.size) list = [...streams.values()];
      return list;
    }, intervalMs);
    return (server.address() as net.AddressInfo).port;
  },
  take: () => ({ proxied: delays.proxied.take(), direct: delays.direct.take() }),
  stop: () => stop(),
  ends: () => [...streams.values()].map((stream) => stream.end()),
};
export type BackendCalls = typeof calls;

function answer(socket: net.Socket): void {
  let stream: MessageStream | undefined;
  let start: Buffer | undefined = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    if (start !== undefined) {
      start = Buffer.concat([start, chunk]);
      if (start.length < helloBytes) return;
      chunk = start.subarray(helloBytes);
      if (start[0] === kinds.stream) {
        const id = start.readUInt32LE(4);
        stream = new MessageStream(id, socket, size, id < firstDirectId ? delays.proxied : delays.direct);
        streams.set(id, stream);
      }
      start = undefined;
    }
    if (chunk.length === 0) return;
    if (stream === undefined) socket.write(chunk);
    else stream.take(chunk);
  });
}

serve(calls);
