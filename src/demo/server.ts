// SPDX-License-Identifier: MIT
// The service behind `--demo`: HTTP on a unix socket. Its page says what the connection's PROXY header tells; /bytes/100M is a download of
// so much, /bytes/100M/sha256 the hash that it must have.
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer as createHttpServer, type ServerResponse } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { bytes, parseSize, sha256 } from './bytes.ts';
import { type Connection, readConnection } from './proxy-header.ts';

/** Settles when it listens; a socket file that is left of a dead process is replaced. */
export async function serveDemo(path: string): Promise<void> {
  const connections = new WeakMap<Socket, Connection>();
  const http = createHttpServer((request, response) => {
    const { url = '/', socket, headers } = request;
    // A client that goes away in the middle is none of our business.
    answer(url, response, () => pageFor(connections.get(socket), headers.host)).catch(() => response.destroy());
  });
  const server = createServer(async (socket) => {
    socket.on('error', () => {});
    const connection = await readConnection(socket);
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    connections.set(socket, connection);
    http.emit('connection', socket);
  });
  rmSync(path, { force: true });
  server.listen(path);
  await once(server, 'listening');
}

async function answer(url: string, response: ServerResponse, page: () => string): Promise<void> {
  const [, size = '', hash] = /^\/bytes\/(\w+)(\/sha256)?$/.exec(url) ?? [];
  const length = parseSize(size);
  if (length !== undefined && hash === undefined) {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': length });
    await pipeline(Readable.from(bytes(length), { objectMode: false }), response);
    return;
  }
  const known = url === '/' || length !== undefined;
  response.writeHead(known ? 200 : 404, { 'content-type': 'text/plain; charset=utf-8' });
  if (!known) response.end('There is / and /bytes/100M and /bytes/100M/sha256.\n');
  else response.end(length === undefined ? page() : `${await sha256(length)}\n`);
}

function pageFor(connection: Connection | undefined, host: string | undefined): string {
  const { client = 'unknown', version = 'unknown', cipher = 'unknown', engine = 'unknown' } = connection ?? {};
  return [
    'It works: this page came over TLS, which ironsocket ended.',
    '',
    `host            ${host ?? 'none'}`,
    `client          ${client}`,
    `TLS version     ${version}`,
    `cipher suite    ${cipher}`,
    `record engine   ${engine}`,
    '',
  ].join('\n');
}
