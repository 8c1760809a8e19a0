// SPDX-License-Identifier: MIT
// The service behind the proxy, in a process of its own. What a connection is for stands in its first line:
//   echo            sends back what comes
//   down N SEED     sends N known bytes, then FIN
//   up              takes bytes to the FIN, then sends their SHA-256
//   first ID        sends "bye" and FIN at once, takes bytes to the FIN and keeps their SHA-256 under ID
//   seen ID         sends what was kept
//   reset N         sends N bytes, then RST
//   who             sends the address that the PROXY header names
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import { writeStream } from '../../test/helpers/known-stream.ts';
import { Peer } from '../../test/helpers/peer.ts';
import { freePort } from '../../test/helpers/proxy.ts';
import { readProxyHeader } from '../../test/helpers/proxy-header.ts';
import { serve } from '../bench.d/helper.ts';

const longestLine = 64;
const seen = new Map<string, string>();
let open = 0;

const calls = {
  /** Gives the ports of the service, of the one that wants a PROXY header, and one where nobody listens. */
  async listen(): Promise<{ readonly plain: number; readonly proxied: number; readonly dead: number }> {
    return { plain: await listenAs(plain), proxied: await listenAs(proxied), dead: await freePort() };
  },
  /** Connections. */
  open: () => open,
};
export type BackendCalls = typeof calls;

async function listenAs(answer: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open++;
    socket.on('error', () => {}).on('close', () => open--);
    answer(socket);
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

function plain(socket: net.Socket): void {
  let start = Buffer.alloc(0);
  const onData = (chunk: Buffer) => {
    start = Buffer.concat([start, chunk]);
    const end = start.indexOf(10);
    if (end < 0) {
      if (start.length > longestLine) socket.destroy();
      return;
    }
    socket.off('data', onData).off('end', onEnd).pause();
    const rest = start.subarray(end + 1);
    if (rest.length > 0) socket.unshift(rest);
    serveLine(socket, start.toString('latin1', 0, end).split(' '));
  };
  const onEnd = () => socket.end();
  socket.on('data', onData).on('end', onEnd);
}

function serveLine(socket: net.Socket, [what, first = '', second = '']: readonly string[]): void {
  switch (what) {
    case 'echo':
      socket.pipe(socket);
      break;
    case 'down':
      socket.resume();
      writeStream(socket, Number(first), Number(second)).then(
        () => socket.end(),
        () => {},
      );
      break;
    case 'up':
      hashed(socket, (hash) => socket.end(hash));
      break;
    case 'first':
      socket.end('bye');
      hashed(socket, (hash) => seen.set(first, hash));
      break;
    case 'seen':
      socket.resume().end(seen.get(first) ?? 'nothing');
      seen.delete(first);
      break;
    case 'reset':
      socket.resume().write(Buffer.alloc(Number(first)), () => socket.resetAndDestroy());
      break;
    default:
      socket.destroy();
  }
}

function hashed(socket: net.Socket, done: (hash: string) => void): void {
  const hash = createHash('sha256');
  socket
    .on('data', (chunk: Buffer) => hash.update(chunk))
    .on('end', () => done(hash.digest('hex')))
    .resume();
}

function proxied(socket: net.Socket): void {
  const peer = new Peer(socket);
  readProxyHeader(peer).then(
    ({ source }) => socket.end(source),
    () => socket.destroy(),
  );
}

serve(calls);
