// SPDX-License-Identifier: MIT
// Streams whose every byte both ends know.
import { type Cipheriv, createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import type * as net from 'node:net';

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
