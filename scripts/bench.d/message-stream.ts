// SPDX-License-Identifier: MIT
// One end of a stream of messages at a steady pace, both ways: each says when it was sent, and all that went and came is hashed.
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { type Delays, nowUs } from './delays.ts';

/** u8 kind, 3 bytes nothing, u32 id: the first bytes of every connection. */
export const helloBytes = 8;
export const kinds = { echo: 0, stream: 1 } as const;
/** Streams from here on go past the proxy. */
export const firstDirectId = 1 << 30;

export function hello(kind: keyof typeof kinds, id: number): Buffer {
  const bytes = Buffer.alloc(helloBytes);
  bytes.writeUInt8(kinds[kind]);
  bytes.writeUInt32LE(id, 4);
  return bytes;
}

interface Pipe {
  readonly write: (bytes: Buffer) => unknown;
  readonly writableLength: number;
}

export interface StreamEnd {
  readonly id: number;
  readonly sent: number;
  readonly got: number;
  readonly sentHash: string;
  readonly gotHash: string;
}

const content = randomBytes(1 << 16);
/** A stream that is held back says nothing more until the other side reads. */
const mostWaiting = 1 << 18;

export class MessageStream {
  readonly id: number;
  sent = 0;
  got = 0;
  readonly #pipe: Pipe;
  readonly #size: number;
  readonly #delays: Delays;
  readonly #sentHash = createHash('sha256');
  readonly #gotHash = createHash('sha256');
  #rest: Buffer = Buffer.alloc(0);

  /** `size`: bytes of a message, the same at both ends, 8 of them are its time. */
  constructor(id: number, pipe: Pipe, size: number, delays: Delays) {
    this.id = id;
    this.#pipe = pipe;
    this.#size = size;
    this.#delays = delays;
  }

  send(): void {
    if (this.#pipe.writableLength > mostWaiting) return;
    const message = Buffer.allocUnsafe(this.#size);
    content.copy(message, 8, this.sent % (content.length - this.#size));
    message.writeDoubleLE(nowUs());
    this.#sentHash.update(message);
    this.sent += this.#size;
    this.#pipe.write(message);
  }

  take(chunk: Buffer): void {
    this.#gotHash.update(chunk);
    this.got += chunk.length;
    const now = nowUs();
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (; rest.length >= this.#size; rest = rest.subarray(this.#size)) {
      const sentUs = rest.readDoubleLE();
      this.#delays.add(this.id, sentUs, now - sentUs);
    }
    this.#rest = rest;
  }

  /** What has gone and come so far. */
  end(): StreamEnd {
    const hash = (of: Hash) => of.copy().digest('hex');
    return {
      id: this.id,
      sent: this.sent,
      got: this.got,
      sentHash: hash(this.#sentHash),
      gotHash: hash(this.#gotHash),
    };
  }
}

/** Lets every stream send once in `intervalMs`, spread over it. Returns a function that stops it. */
export function pace(streams: () => readonly MessageStream[], intervalMs: number): () => void {
  const started = nowUs();
  let turn = 0;
  const tick = () => {
    const all = streams();
    if (all.length === 0) return;
    // One turn a stream and interval; those that were missed while the process stood still are not made up for.
    const due = Math.floor(((nowUs() - started) / 1000 / intervalMs) * all.length);
    if (due - turn > all.length) turn = due - all.length;
    for (; turn < due; turn++) all[turn % all.length]?.send();
  };
  const timer = setInterval(tick, 1);
  return () => clearInterval(timer);
}
