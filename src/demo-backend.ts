// SPDX-License-Identifier: MIT
// The page behind `--demo`: an HTTP server on a unix socket that answers with what the PROXY header of the connection tells
// (HAProxy's doc/proxy-protocol.txt, version 2).
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const fixedLength = 16;
const tlv = { ssl: 0x20, engine: 0xe0 } as const;
/** Within the TLV `ssl`, after 5 bytes of flags and verification result. */
const sslTlv = { version: 0x21, cipher: 0x23 } as const;

interface Connection {
  readonly client: string;
  readonly version: string;
  readonly cipher: string;
  readonly engine: string;
}

/** Listens; a socket file that is left of a dead process is replaced. */
export async function serveDemo(path: string): Promise<void> {
  const connections = new WeakMap<Socket, Connection>();
  const http = createHttpServer((request, response) => {
    response.setHeader('content-type', 'text/plain; charset=utf-8');
    response.end(pageFor(connections.get(request.socket), request.headers.host));
  });
  const server = createServer(async (socket) => {
    socket.on('error', () => {});
    const header = await readHeader(socket);
    if (header === undefined) {
      socket.destroy();
      return;
    }
    connections.set(socket, parseHeader(header));
    http.emit('connection', socket);
  });
  rmSync(path, { force: true });
  server.listen(path);
  await once(server, 'listening');
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

/** The whole header, and nothing behind it; undefined when this is none. */
async function readHeader(socket: Socket): Promise<Buffer | undefined> {
  const fixed = await readExactly(socket, fixedLength);
  if (fixed === undefined || !fixed.subarray(0, signature.length).equals(signature)) return undefined;
  const length = fixed.readUInt16BE(14);
  const rest = length === 0 ? Buffer.alloc(0) : await readExactly(socket, length);
  return rest === undefined ? undefined : Buffer.concat([fixed, rest]);
}

async function readExactly(socket: Socket, length: number): Promise<Buffer | undefined> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null;
    if (bytes !== null) return bytes.length === length ? bytes : undefined;
    if (socket.readableEnded || socket.destroyed) return undefined;
    await new Promise<void>((resolve) => {
      socket.once('readable', resolve);
      socket.once('close', () => resolve());
    });
  }
}

function parseHeader(header: Buffer): Connection {
  const family = header[13] ?? 0;
  const [client, addressLength] = clientOf(header, family >> 4);
  const tlvs = tlvsOf(header.subarray(fixedLength + addressLength));
  const ssl = tlvsOf((tlvs.get(tlv.ssl) ?? Buffer.alloc(5)).subarray(5));
  const text = (bytes: Buffer | undefined) => bytes?.toString('latin1') ?? 'unknown';
  return {
    client,
    version: text(ssl.get(sslTlv.version)),
    cipher: text(ssl.get(sslTlv.cipher)),
    engine: text(tlvs.get(tlv.engine)),
  };
}

/** Address and port of the client, and how long the address block is. */
function clientOf(header: Buffer, family: number): readonly [string, number] {
  if (family === 1) return [`${[...header.subarray(16, 20)].join('.')}:${header.readUInt16BE(24)}`, 12];
  if (family === 2) {
    const groups = Array.from({ length: 8 }, (_, i) => header.readUInt16BE(16 + 2 * i).toString(16));
    return [`[${groups.join(':')}]:${header.readUInt16BE(48)}`, 36];
  }
  return ['unknown', family === 3 ? 216 : 0];
}

function tlvsOf(bytes: Buffer): Map<number, Buffer> {
  const out = new Map<number, Buffer>();
  for (let at = 0; at + 3 <= bytes.length; ) {
    const length = bytes.readUInt16BE(at + 1);
    out.set(bytes[at] ?? 0, bytes.subarray(at + 3, at + 3 + length));
    at += 3 + length;
  }
  return out;
}
