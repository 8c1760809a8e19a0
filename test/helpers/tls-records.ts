// SPDX-License-Identifier: MIT
// TLS records by node:crypto alone, independent of the code under test: key schedule, sealing with anything made wrong on
// purpose, opening. RFC 8446 sections 5 and 7, RFC 5246 sections 5 and 6, RFC 5288, RFC 7905.
import { type CipherGCMTypes, createCipheriv, createDecipheriv, createHmac } from 'node:crypto';

export type TlsVersion = '1.2' | '1.3';

export interface Suite {
  readonly id: number;
  /** IANA name, as in the configuration. */
  readonly name: string;
  /** OpenSSL's name, as tls.connect takes it. */
  readonly openssl: string;
  readonly version: TlsVersion;
  readonly aead: string;
  readonly keyLength: number;
  readonly hash: 'sha256' | 'sha384';
}

const gcm128 = { aead: 'aes-128-gcm', keyLength: 16, hash: 'sha256' } as const;
const gcm256 = { aead: 'aes-256-gcm', keyLength: 32, hash: 'sha384' } as const;
const chacha = { aead: 'chacha20-poly1305', keyLength: 32, hash: 'sha256' } as const;
const ccm128 = { aead: 'aes-128-ccm', keyLength: 16, hash: 'sha256' } as const;

/** What a default configuration offers. */
export const suites: readonly Suite[] = [
  { id: 0x1301, name: 'TLS_AES_128_GCM_SHA256', openssl: 'TLS_AES_128_GCM_SHA256', version: '1.3', ...gcm128 },
  { id: 0x1302, name: 'TLS_AES_256_GCM_SHA384', openssl: 'TLS_AES_256_GCM_SHA384', version: '1.3', ...gcm256 },
  {
    id: 0x1303,
    name: 'TLS_CHACHA20_POLY1305_SHA256',
    openssl: 'TLS_CHACHA20_POLY1305_SHA256',
    version: '1.3',
    ...chacha,
  },
  {
    id: 0xc02b,
    name: 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256',
    openssl: 'ECDHE-ECDSA-AES128-GCM-SHA256',
    version: '1.2',
    ...gcm128,
  },
  {
    id: 0xc02c,
    name: 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
    openssl: 'ECDHE-ECDSA-AES256-GCM-SHA384',
    version: '1.2',
    ...gcm256,
  },
  {
    id: 0xcca9,
    name: 'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256',
    openssl: 'ECDHE-ECDSA-CHACHA20-POLY1305',
    version: '1.2',
    ...chacha,
  },
  {
    id: 0xc02f,
    name: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256',
    openssl: 'ECDHE-RSA-AES128-GCM-SHA256',
    version: '1.2',
    ...gcm128,
  },
  {
    id: 0xc030,
    name: 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384',
    openssl: 'ECDHE-RSA-AES256-GCM-SHA384',
    version: '1.2',
    ...gcm256,
  },
  {
    id: 0xcca8,
    name: 'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
    openssl: 'ECDHE-RSA-CHACHA20-POLY1305',
    version: '1.2',
    ...chacha,
  },
];

/** Offered only where configured. */
export const suitesOnRequest: readonly Suite[] = [
  { id: 0x1304, name: 'TLS_AES_128_CCM_SHA256', openssl: 'TLS_AES_128_CCM_SHA256', version: '1.3', ...ccm128 },
  {
    id: 0xc0ac,
    name: 'TLS_ECDHE_ECDSA_WITH_AES_128_CCM',
    openssl: 'ECDHE-ECDSA-AES128-CCM',
    version: '1.2',
    ...ccm128,
  },
];

export const contentType = { changeCipherSpec: 20, alert: 21, handshake: 22, data: 23, heartbeat: 24 } as const;
export const alert = {
  closeNotify: 0,
  unexpectedMessage: 10,
  badRecordMac: 20,
  recordOverflow: 22,
  handshakeFailure: 40,
  illegalParameter: 47,
  decodeError: 50,
  protocolVersion: 70,
  internalError: 80,
  userCanceled: 90,
  noRenegotiation: 100,
  unrecognizedName: 112,
  noApplicationProtocol: 120,
} as const;

export interface SealOptions {
  /** Zero bytes after the content type (TLS 1.3). */
  readonly padding?: number;
  /** Sequence number to use instead of the next one, which then stays. */
  readonly sequence?: bigint;
  /** Header to send and authenticate instead of the right one. */
  readonly header?: Buffer;
  /** Length field to send instead of the right one, not authenticated. */
  readonly length?: number;
  /** Outer content type (TLS 1.3: 23 is right) and version to send and authenticate. */
  readonly outerType?: number;
  readonly outerVersion?: number;
  /** Whole inner plaintext instead of content, type and padding (TLS 1.3). */
  readonly inner?: Buffer;
  /** Flips the last bit of the record. */
  readonly flip?: boolean;
}

export interface Opened {
  readonly type: number;
  readonly content: Buffer;
  /** The record as it came, header included. */
  readonly raw: Buffer;
}

/** Keys of one direction. */
export class RecordKeys {
  readonly #suite: Suite;
  #secret: Buffer | undefined;
  #key: Buffer;
  #iv: Buffer;
  sequence = 0n;
  generation = 0;
  #lastExplicit = -1n;

  private constructor(suite: Suite, secret: Buffer | undefined, key: Buffer, iv: Buffer) {
    this.#suite = suite;
    this.#secret = secret;
    this.#key = key;
    this.#iv = iv;
  }

  /** TLS 1.3, from a traffic secret. */
  static fromSecret(suite: Suite, secret: Buffer): RecordKeys {
    const key = expandLabel(suite, secret, 'key', suite.keyLength);
    return new RecordKeys(suite, secret, key, expandLabel(suite, secret, 'iv', 12));
  }

  /** TLS 1.2: both directions, from the master secret. */
  static fromMaster(
    suite: Suite,
    master: Buffer,
    clientRandom: Buffer,
    serverRandom: Buffer,
  ): { client: RecordKeys; server: RecordKeys } {
    const ivLength = hasExplicitNonce(suite) ? 4 : 12;
    const seed = Buffer.concat([Buffer.from('key expansion'), serverRandom, clientRandom]);
    const block = prf(suite, master, seed, 2 * (suite.keyLength + ivLength));
    const part = (offset: number, length: number): Buffer => block.subarray(offset, offset + length);
    const k = suite.keyLength;
    return {
      client: new RecordKeys(suite, undefined, part(0, k), part(2 * k, ivLength)),
      server: new RecordKeys(suite, undefined, part(k, k), part(2 * k + ivLength, ivLength)),
    };
  }

  /** What nobody but the two ends may know. */
  secrets(): { readonly key: Buffer; readonly secret?: Buffer } {
    return { key: this.#key, ...(this.#secret && { secret: this.#secret }) };
  }

  /** The next generation of a TLS 1.3 direction (RFC 8446 section 7.2). */
  update(): void {
    if (this.#secret === undefined) throw new Error('TLS 1.2 has no KeyUpdate');
    this.#secret = expandLabel(this.#suite, this.#secret, 'traffic upd', this.#secret.length);
    this.#key = expandLabel(this.#suite, this.#secret, 'key', this.#suite.keyLength);
    this.#iv = expandLabel(this.#suite, this.#secret, 'iv', 12);
    this.sequence = 0n;
    this.generation++;
  }

  seal(type: number, content: Buffer, options: SealOptions = {}): Buffer {
    const sequence = options.sequence ?? this.sequence++;
    const tls13 = this.#suite.version === '1.3';
    const typeAndPadding = Buffer.alloc(1 + (options.padding ?? 0));
    typeAndPadding[0] = type;
    const plain = tls13 ? (options.inner ?? Buffer.concat([content, typeAndPadding])) : content;
    const explicit = hasExplicitNonce(this.#suite) ? sequenceBytes(sequence) : Buffer.alloc(0);
    const header = Buffer.alloc(5);
    header[0] = options.outerType ?? (tls13 ? contentType.data : type);
    header.writeUInt16BE(options.outerVersion ?? 0x0303, 1);
    header.writeUInt16BE(explicit.length + plain.length + 16, 3);
    const sent = Buffer.from(options.header ?? header);
    const aad = tls13 ? sent : additionalData12(sequence, sent, plain.length);
    const cipher = createCipheriv(this.#suite.aead as CipherGCMTypes, this.#key, this.#nonce(sequence, explicit), {
      authTagLength: 16,
    });
    cipher.setAAD(aad, { plaintextLength: plain.length });
    const sealed = Buffer.concat([explicit, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    const wire = Buffer.from(sent);
    if (options.length !== undefined) wire.writeUInt16BE(options.length, 3);
    if (options.flip === true) sealed[sealed.length - 1] = (sealed[sealed.length - 1] ?? 0) ^ 1;
    return Buffer.concat([wire, sealed]);
  }

  /** Throws when the record was not sealed with these keys and the next sequence number, or with a nonce that may have been used before. */
  open(raw: Buffer): Opened {
    const sequence = this.sequence++;
    const explicitLength = hasExplicitNonce(this.#suite) ? 8 : 0;
    const header = raw.subarray(0, 5);
    const explicit = raw.subarray(5, 5 + explicitLength);
    if (explicitLength > 0) this.#checkExplicit(explicit.readBigUInt64BE());
    const sealed = raw.subarray(5 + explicitLength, raw.length - 16);
    const aad = this.#suite.version === '1.3' ? header : additionalData12(sequence, header, sealed.length);
    const cipher = createDecipheriv(this.#suite.aead as CipherGCMTypes, this.#key, this.#nonce(sequence, explicit), {
      authTagLength: 16,
    });
    cipher.setAuthTag(raw.subarray(raw.length - 16));
    cipher.setAAD(aad, { plaintextLength: sealed.length });
    const plain = Buffer.concat([cipher.update(sealed), cipher.final()]);
    if (this.#suite.version === '1.2') return { type: raw[0] ?? 0, content: plain, raw };
    let end = plain.length;
    while (end > 0 && plain[end - 1] === 0) end--;
    return { type: plain[end - 1] ?? 0, content: plain.subarray(0, Math.max(end - 1, 0)), raw };
  }

  /** Any value will do that is never used twice; whoever counts upwards is certain of that. */
  #checkExplicit(nonce: bigint): void {
    if (nonce <= this.#lastExplicit) throw new Error(`explicit nonce ${nonce} after ${this.#lastExplicit}`);
    this.#lastExplicit = nonce;
  }

  #nonce(sequence: bigint, explicit: Buffer): Buffer {
    if (explicit.length > 0) return Buffer.concat([this.#iv, explicit]);
    const nonce = Buffer.from(this.#iv);
    const counter = sequenceBytes(sequence);
    for (let i = 0; i < 8; i++) nonce[4 + i] = (nonce[4 + i] ?? 0) ^ (counter[i] ?? 0);
    return nonce;
  }
}

function hasExplicitNonce(suite: Suite): boolean {
  return suite.version === '1.2' && suite.aead !== 'chacha20-poly1305';
}

function sequenceBytes(sequence: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(sequence);
  return bytes;
}

function additionalData12(sequence: bigint, header: Buffer, length: number): Buffer {
  const bytes = Buffer.concat([sequenceBytes(sequence), header.subarray(0, 5)]);
  bytes.writeUInt16BE(length, 11);
  return bytes;
}

/** HKDF-Expand-Label (RFC 8446 section 7.1) with an empty context and one block of output, which is enough here. */
function expandLabel(suite: Suite, secret: Buffer, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([length >> 8, length & 0xff, name.length]), name, Buffer.from([0, 1])]);
  return createHmac(suite.hash, secret).update(info).digest().subarray(0, length);
}

/** P_hash of RFC 5246 section 5. */
function prf(suite: Suite, secret: Buffer, seed: Buffer, length: number): Buffer {
  const hmac = (...parts: Buffer[]): Buffer => createHmac(suite.hash, secret).update(Buffer.concat(parts)).digest();
  let out = Buffer.alloc(0);
  let a = hmac(seed);
  while (out.length < length) {
    out = Buffer.concat([out, hmac(a, seed)]);
    a = hmac(a);
  }
  return out.subarray(0, length);
}
