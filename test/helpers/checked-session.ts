// SPDX-License-Identifier: MIT
// A session that is known to be whole: everything that comes at either end is compared, byte by byte, with what was sent at the other.
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from './backends.ts';
import { KnownStream } from './known-stream.ts';
import type { Peer } from './peer.ts';
import { RawTlsClient } from './raw-tls-client.ts';
import { contentType, type TlsVersion } from './tls-records.ts';

/** Bytes on their way in one direction. */
const window = 128 * 1024;
const chunkBytes = 8 * 1024;
/** After every window full: a stream without a rest takes a whole core from those that it is to watch. */
const restMs = 10;

/** One direction. */
class Lane {
  readonly #sent: KnownStream;
  readonly #expected: KnownStream;
  #under = 0;
  total = 0;
  #wake = () => {};

  constructor(seed: number) {
    this.#sent = new KnownStream(seed);
    this.#expected = new KnownStream(seed);
  }
  next(length: number): Buffer {
    this.#under += length;
    this.total += length;
    return this.#sent.next(length);
  }
  came(bytes: Buffer): void {
    if (!this.#expected.next(bytes.length).equals(bytes)) throw new Error(`other bytes within ${this.total}`);
    this.#under -= bytes.length;
    if (this.#under < 0) throw new Error('more bytes than were sent');
    this.#wake();
  }
  /** Until not more than `most` are under way, or `given` up. */
  async room(most: number, given: () => boolean): Promise<void> {
    while (this.#under > most && !given()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
  wake(): void {
    this.#wake();
  }
}

export class CheckedSession {
  readonly client: RawTlsClient;
  readonly server: Peer;
  readonly #up: Lane;
  readonly #down: Lane;
  #streaming: Promise<unknown> | undefined;
  #stopped = false;
  #ended = false;
  #fault: Error | undefined;

  constructor(client: RawTlsClient, server: Peer, seed: number) {
    this.client = client;
    this.server = server;
    this.#up = new Lane(seed);
    this.#down = new Lane(seed + 128);
    for (const end of [client.peer.end, server.end]) void end.then(() => this.#end());
    server.socket.on('data', (chunk: Buffer) => this.#take(this.#up, chunk));
    void this.#read();
  }

  static async open(
    port: number,
    backend: Backend,
    { version, seed }: { readonly version: TlsVersion; readonly seed: number },
  ): Promise<CheckedSession> {
    const client = await RawTlsClient.connect({ port, version });
    return new CheckedSession(client, await backend.next(), seed % 128);
  }

  /** Whether either side has seen an end. */
  get ended(): boolean {
    return this.#ended;
  }
  /** Bytes that were sent, both ways. */
  get bytes(): number {
    return this.#up.total + this.#down.total;
  }

  /** Both ways, from now on. */
  stream(): void {
    this.#stopped = false;
    this.#streaming ??= Promise.all([
      this.#write(this.#up, (bytes) => this.client.sendData(bytes)),
      this.#write(this.#down, (bytes) => this.server.write(bytes)),
    ]);
  }

  /** Stops the stream if there is one. Some bytes go both ways; resolves when everything has come. Throws when anything is not as it was sent. */
  async check(): Promise<void> {
    this.#stopped = true;
    await this.#streaming;
    this.#streaming = undefined;
    this.client.sendData(this.#up.next(100));
    this.server.write(this.#down.next(100));
    for (const lane of [this.#up, this.#down]) await lane.room(0, () => this.#ended);
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#ended) throw new Error(`the session of port ${this.client.port} has ended`);
  }

  /** Ends it by RST. */
  close(): void {
    this.#stopped = true;
    this.client.peer.reset();
    this.server.socket.destroy();
  }

  async #write(lane: Lane, write: (bytes: Buffer) => void): Promise<void> {
    for (let sent = chunkBytes; !this.#stopped && !this.#ended; sent += chunkBytes) {
      await lane.room(window, () => this.#ended);
      if (this.#ended) return;
      write(lane.next(chunkBytes));
      await (sent % window === 0 ? sleep(restMs) : nextTurn());
    }
  }

  async #read(): Promise<void> {
    for (let record = await this.client.read(); record !== undefined; record = await this.client.read()) {
      if (record.type === contentType.data) this.#take(this.#down, record.content);
    }
  }

  #take(lane: Lane, bytes: Buffer): void {
    try {
      lane.came(bytes);
    } catch (error) {
      this.#fault ??= error as Error;
      this.#end();
    }
  }

  #end(): void {
    this.#ended = true;
    this.#up.wake();
    this.#down.wake();
  }
}
