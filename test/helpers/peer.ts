// SPDX-License-Identifier: MIT
// One end of a byte stream in a test: a TCP or unix client, or a connection that a backend accepted. Nothing is lost between
// the socket's events and the test's reading, and the way it ends is kept.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';

/** How the other side ended its direction. */
export type Ending = 'fin' | 'reset';

/** What becomes of the bytes that come: kept for reading, hashed, or only counted. */
export type Taking = 'keep' | 'hash' | 'count';

export interface ConnectOptions {
  readonly port?: number;
  readonly host?: string;
  readonly path?: string;
  readonly taking?: Taking;
}

/** By the port of a client in this process: when it began to connect, in milliseconds since 1970. Ports come back. */
export const connectedSince = new Map<number, number>();

export class Peer {
  readonly socket: net.Socket;
  /** Settles when the other side's direction has ended. */
  readonly end: Promise<Ending>;
  ending: Ending | undefined;
  received = 0;
  #chunks: Buffer[] = [];
  #kept = 0;
  #wake: (() => void) | undefined;
  readonly #hash = createHash('sha256');

  constructor(socket: net.Socket, options: { readonly taking?: Taking } = {}) {
    this.socket = socket;
    const taking = options.taking ?? 'keep';
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.length;
      if (taking === 'keep') {
        this.#chunks.push(chunk);
        this.#kept += chunk.length;
      } else if (taking === 'hash') this.#hash.update(chunk);
      this.#wake?.();
    });
    this.end = new Promise((resolve) => {
      const settle = (ending: Ending): void => {
        this.ending ??= ending;
        this.#wake?.();
        resolve(this.ending);
      };
      socket.on('end', () => settle('fin'));
      socket.on('error', () => settle('reset'));
      socket.on('close', (hadError) => settle(hadError ? 'reset' : 'fin'));
    });
  }

  static async connect(options: ConnectOptions): Promise<Peer> {
    const target = options.path
      ? { path: options.path }
      : { port: options.port ?? 0, host: options.host ?? '127.0.0.1' };
    const started = Date.now();
    const socket = net.connect({ ...target, allowHalfOpen: true, noDelay: true });
    const peer = new Peer(socket, options);
    await once(socket, 'connect');
    if (socket.localPort !== undefined) connectedSince.set(socket.localPort, started);
    return peer;
  }

  write(bytes: Buffer | string): void {
    this.socket.write(bytes);
  }
  /** FIN; the other direction stays. */
  finish(bytes?: Buffer | string): void {
    this.socket.end(bytes ?? '');
  }
  /** RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Exactly so many bytes. */
  async read(length: number): Promise<Buffer> {
    while (this.#kept < length) {
      if (this.ending !== undefined) throw new Error(`${this.ending} after ${this.#kept} of ${length} bytes`);
      await this.#more();
    }
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all.subarray(length)];
    this.#kept -= length;
    return all.subarray(0, length);
  }
  /** Everything to the end, as text. */
  async outcome(): Promise<{ readonly data: string; readonly end: Ending }> {
    const end = await this.end;
    return { data: Buffer.concat(this.#chunks).toString('latin1'), end };
  }
  /** SHA-256 of everything that came; only when hashing, once. */
  async hash(): Promise<string> {
    await this.end;
    return this.#hash.digest('hex');
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
