// SPDX-License-Identifier: MIT
// One session through the proxy from its handshake to its end, every byte of it known at both ends. A visit whose session is cut off
// must be told so at both: what ends as if it were whole and is not is wrong, and so is any byte that was not sent.
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Peer } from '../helpers/peer.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { timeFactor } from '../helpers/time.ts';
import { alert, contentType, type TlsVersion } from '../helpers/tls-records.ts';

/** What each visit sends are these bytes over and over, from a place of its own on. */
const poolBytes = 4 << 20;
const once = randomBytes(poolBytes);
const pool = Buffer.concat([once, once]);
const chunkBytes = 16 * 1024;
/** In which sockets that have room take something. */
const fillMs = 60 * timeFactor;

class Lane {
  readonly #begin: number;
  sent = 0;
  came = 0;

  constructor(id: number, salt: number) {
    this.#begin = ((id * 7919 + salt) * 1021) % poolBytes;
  }
  next(length: number): Buffer {
    const from = (this.#begin + this.sent) % poolBytes;
    this.sent += length;
    return pool.subarray(from, from + length);
  }
  /** Whether these bytes are those that were sent. */
  take(bytes: Buffer): boolean {
    const from = (this.#begin + this.came) % poolBytes;
    this.came += bytes.length;
    return this.came <= this.sent && pool.compare(bytes, 0, bytes.length, from, from + bytes.length) === 0;
  }
  get whole(): boolean {
    return this.came === this.sent;
  }
}

class Cut extends Error {}

/** How the session is ended, and by whom. */
export type Leave = 'client' | 'client first' | 'backend first' | 'client reset' | 'backend reset';

export interface Plan {
  readonly version: TlsVersion;
  readonly leave: Leave;
  /** Bytes each way, half of them before the pause. */
  readonly bytes: number;
  /** Sent in pieces of so many bytes; 16 KiB if left out. */
  readonly piece?: number;
  /** Nobody reads up to the pause. */
  readonly slow?: boolean;
  /** The client changes its keys, and asks for ours, now and then. */
  readonly rekeys?: boolean;
  /** A ticket to resume with. */
  readonly session?: Buffer;
}

/** `refused`: no session came of it. */
export type Ending = 'whole' | 'refused' | 'cut';

export class Visit {
  readonly id: number;
  readonly plan: Plan;
  /** What is wrong, if anything. */
  readonly faults: string[] = [];
  client: RawTlsClient | undefined;
  port = 0;
  server: Peer | undefined;
  /** Where it stands. */
  step = 'begin';
  readonly #up: Lane;
  readonly #down: Lane;
  #closeNotify = false;
  #alert: number | undefined;
  #weClosed = false;
  #backendClosed = false;
  #weReset = false;
  #over = false;
  #wake: () => void = () => {};

  constructor(id: number, plan: Plan) {
    this.id = id;
    this.plan = plan;
    this.#up = new Lane(id, 1);
    this.#down = new Lane(id, 2);
  }

  /** The backend's connection that has said this visit's number, with what came behind it. */
  arrived(server: Peer, rest: Buffer): void {
    if (this.server !== undefined) this.#wrong('a second connection to the backend');
    this.server = server;
    if (this.#over) server.socket.destroy();
    this.#fromClient(rest);
    server.socket.on('data', (bytes: Buffer) => this.#fromClient(bytes));
    void server.end.then(() => this.#wake());
  }

  /** The whole of it. `pause` lets all visits of a round stand still for a moment. */
  async run(port: number, pause: () => Promise<void>): Promise<Ending> {
    try {
      await this.#open(port);
      if (this.plan.slow === true) await this.#fill(pause);
      else {
        await this.#exchange(this.plan.bytes >> 1);
        this.step = 'pause';
        await pause();
        await this.#exchange(this.plan.bytes >> 1);
      }
      await this.#leave();
      return 'whole';
    } catch (error) {
      if (!(error instanceof Cut)) this.#wrong(String(error));
      return await this.#afterCut();
    } finally {
      this.#over = true;
      this.#checkEnds();
      this.client?.peer.socket.destroy();
      this.server?.socket.destroy();
    }
  }

  async #open(port: number): Promise<void> {
    this.step = 'handshake';
    const { version, session } = this.plan;
    try {
      this.client = await RawTlsClient.connect({ port, version, ...(session === undefined ? {} : { session }) });
    } catch {
      throw new Cut();
    }
    this.port = this.client.port;
    void this.#read(this.client);
    void this.client.peer.end.then(() => this.#wake());
    this.step = 'first bytes';
    const number = Buffer.alloc(4);
    number.writeUInt32BE(this.id);
    this.client.sendData(number);
    await this.#until(() => this.server !== undefined);
  }

  /** Each way at the same time, without waiting for the other. */
  async #exchange(bytes: number): Promise<void> {
    this.step = 'exchange';
    const { piece = chunkBytes, rekeys = false } = this.plan;
    for (let left = bytes, count = 0; left > 0; count++) {
      const length = Math.min(left, piece);
      left -= length;
      this.client?.sendData(this.#up.next(length));
      this.server?.write(this.#down.next(length));
      if (rekeys && count % 4 === 2) this.client?.sendKeyUpdate(1);
      if (count % 4 === 3) await this.#until(() => this.#up.sent - this.#up.came < 8 * piece);
    }
    await this.#until(() => this.#up.whole && this.#down.whole);
  }

  /** More than all buffers on the way hold. */
  async #fill(pause: () => Promise<void>): Promise<void> {
    this.step = 'fill';
    const sockets = [this.client?.peer.socket, this.server?.socket];
    for (const socket of sockets) socket?.pause();
    for (let left = this.plan.bytes; left > 0; left -= chunkBytes) {
      this.client?.sendData(this.#up.next(chunkBytes));
      this.server?.write(this.#down.next(chunkBytes));
    }
    const taken = (): number => sockets.reduce((sum, socket) => sum + takenBy(socket), 0);
    for (let before = -1, now = taken(); now !== before; before = now, now = taken()) {
      await new Promise((resolve) => setTimeout(resolve, fillMs));
    }
    await pause();
    this.step = 'drain';
    for (const socket of sockets) socket?.resume();
    await this.#until(() => this.#up.whole && this.#down.whole);
  }

  async #leave(): Promise<void> {
    const { leave } = this.plan;
    this.step = `leave: ${leave}`;
    switch (leave) {
      case 'client reset':
        this.#weReset = true;
        this.client?.peer.reset();
        return this.#bothEnded();
      case 'backend reset':
        this.#weReset = true;
        this.server?.reset();
        return this.#bothEnded();
      case 'backend first':
        this.#finishBackend();
        await this.#until(() => this.#closeNotify);
        for (let i = 0; i < 4; i++) this.client?.sendData(this.#up.next(chunkBytes));
        this.#finishClient();
        await this.#until(() => this.server?.ending === 'fin' && this.client?.peer.ending === 'fin');
        return;
      default:
        this.#finishClient();
        await this.#until(() => this.server?.ending === 'fin');
        if (leave === 'client first') for (let i = 0; i < 4; i++) this.server?.write(this.#down.next(chunkBytes));
        this.#finishBackend();
        await this.#until(() => this.#closeNotify && this.client?.peer.ending === 'fin');
    }
  }

  #finishClient(): void {
    this.#weClosed = true;
    this.client?.sendAlert(alert.closeNotify);
    this.client?.peer.finish();
  }

  #finishBackend(): void {
    this.#backendClosed = true;
    this.server?.finish();
  }

  async #bothEnded(): Promise<void> {
    const ended = (peer: Peer | undefined): boolean => peer === undefined || peer.ending !== undefined;
    while (!ended(this.client?.peer) || !ended(this.server)) await this.#change();
  }

  /** One end has been told; the other has to be. */
  async #afterCut(): Promise<Ending> {
    this.step = `cut off: ${this.step}`;
    this.client?.peer.finish();
    await this.#bothEnded();
    return this.server === undefined ? 'refused' : 'cut';
  }

  /** A clean end where there is none is the worst of faults. */
  #checkEnds(): void {
    if (this.#closeNotify && !(this.#backendClosed && this.#down.whole)) {
      this.#wrong(`close_notify to the client after ${this.#down.came} of ${this.#down.sent} bytes (${this.step})`);
    }
    const ownEnd = this.#weReset && this.plan.leave === 'backend reset';
    if (this.server?.ending === 'fin' && !ownEnd && !(this.#weClosed && this.#up.whole)) {
      this.#wrong(`FIN to the backend after ${this.#up.came} of ${this.#up.sent} bytes (${this.step})`);
    }
    const mute = this.client?.peer.ending === 'fin' && !this.#closeNotify && this.#alert === undefined;
    const unasked = this.server !== undefined && !(this.#weReset && this.plan.leave === 'client reset');
    if (mute && unasked) this.#wrong(`FIN to the client without a word (${this.step})`);
  }

  async #read(client: RawTlsClient): Promise<void> {
    for (let record = await client.read(); record !== undefined; record = await client.read()) {
      if (record.type === contentType.data && !this.#down.take(record.content))
        this.#wrong('other bytes to the client');
      if (record.type === contentType.alert) {
        if (record.content[1] === alert.closeNotify) this.#closeNotify = true;
        else this.#alert = record.content[1];
      }
      this.#wake();
    }
    this.#wake();
  }

  #fromClient(bytes: Buffer): void {
    if (!this.#up.take(bytes)) this.#wrong('other bytes to the backend');
    this.#wake();
  }

  #wrong(what: string): void {
    if (this.faults.length < 5) this.faults.push(what);
    this.#wake();
  }

  /** Until it is so; throws Cut where the session has ended before. */
  async #until(done: () => boolean): Promise<void> {
    while (!done()) {
      const client = this.client?.peer.ending;
      const clientGone = client === 'reset' || (client === 'fin' && !(this.#closeNotify && this.#backendClosed));
      const server = this.server?.ending;
      const serverGone = server === 'reset' || (server === 'fin' && !this.#weClosed);
      if (clientGone || serverGone || this.#alert !== undefined || this.faults.length > 0) throw new Cut();
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** Bytes that have left the process. */
function takenBy(socket: Socket | undefined): number {
  return socket === undefined ? 0 : socket.bytesWritten - socket.writableLength;
}
