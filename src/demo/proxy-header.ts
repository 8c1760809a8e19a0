// SPDX-License-Identifier: MIT
// What the PROXY header of a connection tells (HAProxy's doc/proxy-protocol.txt, version 2).
import type { Socket } from 'node:net';

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const fixedLength = 16;
const tlv = { ssl: 0x20, engine: 0xe0 } as const;
/** Within the TLV `ssl`, after 5 bytes of flags and verification result. */
const sslTlv = { version: 0x21, cipher: 0x23 } as const;

export interface Connection {
  readonly client: string;
  readonly version: string;
  readonly cipher: string;
  readonly engine: string;
}

/** Takes the header off the connection, and nothing behind it; undefined when it has none. */
export async function readConnection(socket: Socket): Promise<Connection | undefined> {
  const header = await readHeader(socket);
  return header === undefined ? undefined : parseHeader(header);
}

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
