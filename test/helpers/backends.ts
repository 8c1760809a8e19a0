// SPDX-License-Identifier: MIT
// Backends for the proxy under test, in the test's own process but for the black hole.
import { spawn } from 'node:child_process';
import { type Cipheriv, createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import * as net from 'node:net';
import { Peer, type Taking } from './peer.ts';
import { afterAll } from './suite.ts';

export interface Backend {
  /** As the configuration names it. */
  readonly address: string;
  readonly port: number;
  readonly server: net.Server;
  /** The next connection that the proxy makes, in their order. */
  readonly next: () => Promise<Peer>;
  /** Connections accepted so far. */
  readonly accepted: () => number;
  /** Waits until no connection is open. */
  readonly empty: () => Promise<void>;
}

export interface BackendOptions {
  readonly path?: string;
  readonly host?: string;
  /** Called for every connection. */
  readonly onConnection?: (peer: Peer) => void;
  readonly taking?: Taking;
}

/** A backend whose connections the test answers itself. It ends with the file. */
export async function startBackend(options: BackendOptions = {}): Promise<Backend> {
  const waiting: Peer[] = [];
  const takers: ((peer: Peer) => void)[] = [];
  let accepted = 0;
  const open = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    accepted++;
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    const peer = new Peer(socket, options);
    options.onConnection?.(peer);
    const taker = takers.shift();
    if (taker !== undefined) taker(peer);
    else if (options.onConnection === undefined) waiting.push(peer);
  });
  const host = options.host ?? '127.0.0.1';
  server.listen(options.path === undefined ? { port: 0, host, backlog: 4096 } : { path: options.path });
  await once(server, 'listening');
  // The worker may be another user than the test.
  if (options.path !== undefined) chmodSync(options.path, 0o777);
  afterAll(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const port = options.path === undefined ? (server.address() as net.AddressInfo).port : 0;
  const tcp = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return {
    address: options.path === undefined ? tcp : `unix:${options.path}`,
    port,
    server,
    accepted: () => accepted,
    empty: async () => {
      // Not events.once, which rejects when the socket is reset.
      const closed = (socket: net.Socket): Promise<void> =>
        new Promise((resolve) => socket.once('close', () => resolve()));
      while (open.size > 0) await Promise.all([...open].map(closed));
    },
    next: () => {
      const peer = waiting.shift();
      return peer !== undefined ? Promise.resolve(peer) : new Promise((resolve) => takers.push(resolve));
    },
  };
}

/** Sends back what comes, FIN included. */
export function startEcho(options: BackendOptions = {}): Promise<Backend> {
  return startBackend({
    taking: 'count',
    ...options,
    onConnection: ({ socket }) => {
      socket.pipe(socket);
    },
  });
}

/** Address of a backend that never accepts and whose queue is full: connecting to it hangs. */
export async function startBlackHole(): Promise<string> {
  return (await startSleeper()).address;
}

export interface Sleeper {
  readonly address: string;
  /** From now on it takes connections, and sends back what comes. Who waits is let in when it knocks again (SYN). */
  readonly wake: () => void;
}

/** A black hole that can be woken. */
export async function startSleeper(): Promise<Sleeper> {
  // The loop of the child stands still right after listen, so nothing is accepted.
  const script = `
    const server = require('net').createServer((socket) => socket.pipe(socket).on('error', () => {}));
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('fs').writeSync(1, String(server.address().port) + '\\n');
      process.kill(process.pid, 'SIGSTOP');
    });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  afterAll(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  const port = Number(String(line));
  for (;;) {
    const filler = net.connect(port, '127.0.0.1');
    filler.on('error', () => {});
    afterAll(() => filler.destroy());
    const connected = await Promise.race([once(filler, 'connect').then(() => true), delay(300)]);
    if (connected !== true) return { address: `127.0.0.1:${port}`, wake: () => void child.kill('SIGCONT') };
  }
}

function delay(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ms));
}

// --- known streams

/** Bytes that never repeat (AES-CTR), the same for the same seed. */
export class KnownStream {
  readonly #cipher: Cipheriv;
  readonly #zeros = Buffer.alloc(1 << 16);
  readonly #hash = createHash('sha256');

  constructor(seed: number) {
    this.#cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16));
  }
  next(length: number): Buffer {
    const zeros = length <= this.#zeros.length ? this.#zeros.subarray(0, length) : Buffer.alloc(length);
    const bytes = this.#cipher.update(zeros);
    this.#hash.update(bytes);
    return bytes;
  }
  /** SHA-256 of everything that `next` has given; once. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}

/** Writes `total` bytes of a known stream as fast as `out` takes them; its SHA-256. Does not end `out`. */
export async function writeStream(out: net.Socket, total: number, seed: number): Promise<string> {
  const stream = new KnownStream(seed);
  for (let left = total; left > 0; ) {
    const chunk = stream.next(Math.min(left, 1 << 16));
    left -= chunk.length;
    if (!out.write(chunk)) await once(out, 'drain');
  }
  return stream.digest();
}

/**
 * Writes what `next` gives, by default zeros, until `socket` has taken no more for half a second; the bytes it got rid of. One
 * chunk, by default of 64 KiB, still waits then.
 */
export async function push(socket: net.Socket, next = (): Buffer => Buffer.alloc(1 << 16)): Promise<number> {
  let sent = 0;
  for (;;) {
    const chunk = next();
    const taken = new Promise<boolean>((resolve) => socket.write(chunk, () => resolve(true)));
    const stuck = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 500));
    if (!(await Promise.race([taken, stuck]))) return sent;
    sent += chunk.length;
    if (sent > 1 << 28) throw new Error('nothing holds it back');
  }
}

// --- PROXY protocol

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
