// SPDX-License-Identifier: MIT
// Bytes for downloads, the same ones at every time: what came can be compared with what should have come.
import { createCipheriv, createHash } from 'node:crypto';

const chunkBytes = 64 * 1024;
const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const mostBytes = 2 ** 40;

/** `100M` in bytes; undefined for what is no size, or above 1 TiB. */
export function parseSize(text: string): number | undefined {
  const [, number = '', unit = ''] = /^(\d{1,15})([KMG]?)$/.exec(text) ?? [];
  const bytes = Number(number) * (units[unit] ?? 1);
  return number !== '' && bytes <= mostBytes ? bytes : undefined;
}

/** The key stream of AES-128-CTR with a key of zeros, from its begin. */
export function* bytes(length: number): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const zeros = Buffer.alloc(chunkBytes);
  for (let left = length; left > 0; left -= chunkBytes)
    yield cipher.update(zeros.subarray(0, Math.min(left, chunkBytes)));
}

/** In hexadecimal. Others have their turn meanwhile. */
export async function sha256(length: number): Promise<string> {
  const hash = createHash('sha256');
  for (const chunk of bytes(length)) {
    hash.update(chunk);
    await new Promise(setImmediate);
  }
  return hash.digest('hex');
}
