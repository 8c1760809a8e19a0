// SPDX-License-Identifier: MIT
// The header that opens a connection from the proxy, read as a service would.
import type { Peer } from './peer.ts';

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** v1: the line; v2: `PROXY TCP4` and so on. */
  readonly kind: string;
  readonly source: string;
  readonly destination: string;
  readonly tlvs: ReadonlyMap<number, Buffer>;
}

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** Reads the header that opens a connection from the proxy (HAProxy's proxy-protocol.txt). */
export async function readProxyHeader(peer: Peer): Promise<ProxyHeader> {
  const start = await peer.read(16);
  if (start.subarray(0, 12).equals(signature)) return parseV2(start, await peer.read(start.readUInt16BE(14)));
  let line = start.toString('latin1');
  while (!line.endsWith('\r\n')) line += (await peer.read(1)).toString('latin1');
  const [, family = '', from = '', to = '', fromPort = '', toPort = ''] = line.trimEnd().split(' ');
  return { version: 1, kind: family, source: `${from}:${fromPort}`, destination: `${to}:${toPort}`, tlvs: new Map() };
}

function parseV2(start: Buffer, body: Buffer): ProxyHeader {
  const families: Record<number, [string, number]> = {
    17: ['TCP4', 4],
    33: ['TCP6', 16],
    49: ['UNIX', 108],
    0: ['UNSPEC', 0],
  };
  const [family, size] = families[start[13] ?? 0] ?? ['?', 0];
  const command = start[12] === 0x21 ? 'PROXY' : `command 0x${start[12]?.toString(16)}`;
  const ports = size === 4 || size === 16 ? 4 : 0;
  const text = (at: number): string => ipText(body.subarray(at * size, at * size + size));
  const end = 2 * size + ports;
  return {
    version: 2,
    kind: `${command} ${family}`,
    source: ports ? `${text(0)}:${body.readUInt16BE(2 * size)}` : '',
    destination: ports ? `${text(1)}:${body.readUInt16BE(2 * size + 2)}` : '',
    tlvs: parseTlvs(body.subarray(end)),
  };
}

/** TLVs by type; those inside PP2_TYPE_SSL (0x20), behind its 5 bytes, stand beside the others. */
function parseTlvs(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 3 <= bytes.length; ) {
    const type = bytes[at] ?? 0;
    const value = bytes.subarray(at + 3, at + 3 + bytes.readUInt16BE(at + 1));
    found.set(type, value);
    if (type === 0x20) for (const [inner, content] of parseTlvs(value.subarray(5))) found.set(inner, content);
    at += 3 + value.length;
  }
  return found;
}

function ipText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return groups
    .join(':')
    .replace(/\b0(:0)+\b/, ':')
    .replace(':::', '::');
}
