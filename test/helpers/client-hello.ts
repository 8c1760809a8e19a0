// SPDX-License-Identifier: MIT
// A ClientHello by hand, for what no TLS library would send.
import { randomBytes } from 'node:crypto';

export interface HelloOptions {
  readonly version?: '1.2' | '1.3';
  /** Bytes of the host name, whatever they are; undefined: no extension. */
  readonly sni?: Buffer | undefined;
  /** Bytes of an extension that nobody knows, to make the message large. */
  readonly filler?: number;
  /** Content bytes of each record. */
  readonly recordSize?: number;
}

/** The records of a ClientHello. */
export function clientHello(options: HelloOptions = {}): Buffer {
  const extensions = [
    extension(10, list(Buffer.from('001d0017', 'hex'))),
    extension(13, list(Buffer.from('0403080408050806040105010601', 'hex'))),
  ];
  if (options.version !== '1.2') {
    extensions.push(extension(43, Buffer.from('020304', 'hex')));
    extensions.push(extension(51, list(Buffer.concat([Buffer.from('001d0020', 'hex'), randomBytes(32)]))));
  }
  if (options.sni !== undefined)
    extensions.push(extension(0, list(Buffer.concat([Buffer.from([0]), sized(options.sni)]))));
  for (let left = options.filler ?? 0, type = 60_000; left > 0; left -= 50_000, type++) {
    extensions.push(extension(type, Buffer.alloc(Math.min(left, 50_000))));
  }
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    randomBytes(32),
    Buffer.from([32]),
    randomBytes(32),
    sized(Buffer.from('130113021303c02bc02cc02fc030', 'hex')),
    Buffer.from([1, 0]),
    sized(Buffer.concat(extensions)),
  ]);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length + 0x01000000);
  return records(Buffer.concat([header, body]), options.recordSize ?? 16_384);
}

/** Cuts a handshake message into plaintext records. */
export function records(message: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const content = message.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1]), sized(content));
  }
  return Buffer.concat(parts);
}

function sized(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length & 0xffff);
  return Buffer.concat([length, bytes]);
}
const list = sized;

function extension(type: number, content: Buffer): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, sized(content)]);
}
