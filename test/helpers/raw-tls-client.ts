// SPDX-License-Identifier: MIT
// A TLS client under full control: node:tls does the handshake over a Duplex between it and the TCP socket; then it is taken away
// and the test seals and opens every record itself. Whatever is right is the default, whatever is wrong can be asked for.
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { type Ending, Peer } from './peer.ts';
import {
  alert,
  contentType,
  type Opened,
  RecordKeys,
  type SealOptions,
  type Suite,
  suites,
  suitesOnRequest,
  type TlsVersion,
} from './tls-records.ts';

export interface RawClientOptions {
  readonly port?: number;
  readonly host?: string;
  /** Unix socket instead of port and host. */
  readonly path?: string;
  readonly version?: TlsVersion;
  readonly suite?: Suite;
  readonly servername?: string;
  readonly alpn?: readonly string[];
  readonly groups?: string;
  readonly session?: Buffer;
  /** Keeps the client's last flight (Finished) back, in `heldFlight`, for the test to send with something glued to it. */
  readonly holdFinished?: boolean;
  /** Sends the handshake in pieces of so many bytes. */
  readonly pieces?: number;
  /** The ClientHello stops at this byte, and goes on when the promise has settled. */
  readonly pause?: { readonly at: number; readonly until: Promise<unknown> };
}

/** What came until the connection ended: data, the alerts, and how TCP ended. */
export interface Outcome {
  readonly data: string;
  /** Descriptions of the alerts, in order; a warning of TLS 1.2 other than close_notify is `warning N`. */
  readonly alerts: readonly (number | string)[];
  readonly end: Ending;
}

const helloRetry = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');

/** Ports of the clients that held their Finished back, to glue something to it. */
export const glued = new Set<string>();

export class RawTlsClient {
  readonly peer: Peer;
  version: TlsVersion = '1.3';
  suite!: Suite;
  writeKeys!: RecordKeys;
  readKeys!: RecordKeys;
  heldFlight = Buffer.alloc(0);
  /** request_update bytes of the KeyUpdates that came. */
  readonly keyUpdates: number[] = [];
  ticketsSeen = 0;
  /** Bytes of application data that were sealed to be sent, and that came. */
  payloadOut = 0;
  payloadIn = 0;

  readonly #options: RawClientOptions;
  readonly #secrets = new Map<string, Buffer>();
  #clientRandom = Buffer.alloc(0);
  #serverRandom = Buffer.alloc(0);
  #phase: 'plain' | 'handshake' | 'open' = 'plain';
  #handshakeKeys: RecordKeys | undefined;
  #flightSent = false;
  #paused = false;
  #incoming = Buffer.alloc(0);
  #wire: Duplex | undefined;
  #handshake: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  readonly #opened: Opened[] = [];
  #wake: (() => void) | undefined;

  /** Connects and does the handshake. */
  static async connect(options: RawClientOptions): Promise<RawTlsClient> {
    const client = new RawTlsClient(options, await Peer.connect({ ...options, taking: 'count' }));
    await client.#shakeHands();
    return client;
  }

  private constructor(options: RawClientOptions, peer: Peer) {
    this.#options = options;
    this.peer = peer;
    this.port = peer.socket.localPort ?? 0;
    this.listenPort = peer.socket.remotePort ?? 0;
    if (options.holdFinished === true) glued.add(String(this.port));
  }

  /** Ports of this end and of the listener, by which the log names the connection. */
  readonly port: number;
  readonly listenPort: number;

  // --- sending

  seal(type: number, content: Buffer | string = '', options: SealOptions = {}): Buffer {
    if (type === contentType.data) this.payloadOut += Buffer.byteLength(content);
    return this.writeKeys.seal(type, Buffer.from(content), options);
  }
  /** Sends one record. */
  send(type: number, content: Buffer | string = '', options: SealOptions = {}): void {
    this.peer.write(this.seal(type, content, options));
  }
  sendData(content: Buffer | string, options: SealOptions = {}): void {
    this.send(contentType.data, content, options);
  }
  sendAlert(
    description: number,
    level = description === alert.closeNotify || description === alert.userCanceled ? 1 : 2,
  ): void {
    this.send(contentType.alert, Buffer.from([level, description]));
  }
  /** KeyUpdate, then the next generation of our keys. */
  sendKeyUpdate(request: number): void {
    this.peer.write(this.sealKeyUpdate(request));
  }
  sealKeyUpdate(request: number): Buffer {
    const record = this.seal(contentType.handshake, keyUpdate(request));
    this.writeKeys.update();
    return record;
  }

  // --- receiving

  /** The next record that is neither a ticket nor a KeyUpdate (those are counted and followed); undefined: TCP has ended. */
  async read(): Promise<Opened | undefined> {
    for (;;) {
      const next = this.#opened.shift();
      if (next !== undefined) return next;
      if (this.peer.ending !== undefined) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
  /** Exactly so many bytes of application data. */
  async readData(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let missing = length; missing > 0; ) {
      const record = await this.read();
      if (record?.type !== contentType.data)
        throw new Error(`waited for data, came ${describe(record) ?? this.peer.ending}`);
      if (record.content.length > missing) throw new Error('more data than waited for');
      parts.push(record.content);
      missing -= record.content.length;
    }
    return Buffer.concat(parts);
  }
  /** Reads to the end of the TCP connection, then closes it; `stay` leaves our direction open. */
  async outcome(options: { readonly stay?: boolean } = {}): Promise<Outcome> {
    const data: Buffer[] = [];
    const alerts: (number | string)[] = [];
    for (let record = await this.read(); record !== undefined; record = await this.read()) {
      if (record.type === contentType.data) data.push(record.content);
      else if (record.type === contentType.alert) alerts.push(alertText(record.content));
      else throw new Error(`unexpected record ${describe(record)}`);
    }
    if (options.stay !== true && !this.peer.socket.writableEnded) this.peer.finish();
    return { data: Buffer.concat(data).toString('latin1'), alerts, end: this.peer.ending ?? 'reset' };
  }

  // --- the handshake

  async #shakeHands(): Promise<void> {
    const o = this.#options;
    const wire = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => void this.#flightOut(chunk).then(() => done(), done),
    });
    this.#wire = wire;
    const version = o.suite?.version ?? o.version ?? '1.3';
    const finished = new Promise<void>((resolve, reject) => {
      this.#handshake = { resolve, reject };
    });
    const secure = tls.connect({
      socket: wire,
      servername: o.servername ?? 'localhost',
      rejectUnauthorized: false,
      minVersion: `TLSv${version}`,
      maxVersion: `TLSv${version}`,
      ...(o.suite ? { ciphers: o.suite.openssl } : {}),
      ...(o.alpn ? { ALPNProtocols: [...o.alpn] } : {}),
      ...(o.groups ? { ecdhCurve: o.groups } : {}),
      ...(o.session ? { session: o.session } : {}),
    });
    secure.on('keylog', (line: Buffer) => {
      const [label = '', random = '', secret = ''] = line.toString('latin1').trim().split(' ');
      this.#secrets.set(label, Buffer.from(secret, 'hex'));
      this.#clientRandom = Buffer.from(random, 'hex');
      this.#advance();
    });
    secure.on('error', (error) => this.#handshake?.reject(error));
    this.peer.socket.on('data', (chunk: Buffer) => {
      // First ours: an alert behind the server's Finished must not look like a failed handshake.
      this.#incoming = Buffer.concat([this.#incoming, chunk]);
      this.#advance();
      this.#wire?.push(chunk);
      this.#advance();
    });
    void this.peer.end.then((ending) => {
      if (ending === 'fin') this.#wire?.push(null);
      this.#handshake?.reject(new Error(`the connection ended in the handshake: ${ending}`));
      this.#wake?.();
    });
    await finished;
    this.#handshake = undefined;
    this.#wire = undefined;
    secure.destroy();
  }

  async #flightOut(chunk: Buffer): Promise<void> {
    if (this.#wire === undefined) return;
    const at = this.#flightSent
      ? 0
      : startOfFinished(chunk, this.#options.suite?.version ?? this.#options.version ?? '1.3');
    if (at !== undefined && this.#options.holdFinished === true) {
      this.heldFlight = Buffer.concat([this.heldFlight, chunk.subarray(at)]);
      chunk = chunk.subarray(0, at);
    }
    const { pause } = this.#options;
    if (pause !== undefined && !this.#paused) {
      this.#paused = true;
      this.peer.write(chunk.subarray(0, pause.at));
      await pause.until;
      chunk = chunk.subarray(pause.at);
    }
    const step = this.#options.pieces ?? chunk.length;
    for (let sent = 0; sent < chunk.length; sent += step) {
      this.peer.write(chunk.subarray(sent, sent + step));
      if (sent + step < chunk.length) await new Promise(setImmediate);
    }
    if (at !== undefined) this.#flightSent = true;
    this.#advance();
  }

  /** Takes whole records out of what has come, as far as the secrets are known, and notices the end of the handshake. */
  #advance(): void {
    while (this.#incoming.length >= 5) {
      const length = 5 + this.#incoming.readUInt16BE(3);
      if (this.#incoming.length < length || !this.#take(this.#incoming.subarray(0, length))) break;
      this.#incoming = this.#incoming.subarray(length);
    }
    const keys = this.#secrets.get('CLIENT_TRAFFIC_SECRET_0');
    const ready =
      this.version === '1.3' ? keys !== undefined : this.#phase === 'open' || this.#options.holdFinished === true;
    if (this.#handshake === undefined || !this.#flightSent || !ready || this.suite === undefined) return;
    if (this.version === '1.3' && keys !== undefined && this.#phase === 'open')
      this.writeKeys = RecordKeys.fromSecret(this.suite, keys);
    else if (this.version === '1.3' || !this.#deriveKeys12()) return;
    else this.writeKeys.sequence = 1n; // Finished was 0
    this.#handshake.resolve();
  }

  /** False: a secret is still missing. */
  #take(raw: Buffer): boolean {
    const type = raw[0];
    if (this.#phase === 'plain') {
      if (type === contentType.handshake && raw[5] === 2) this.#serverHello(raw);
      if (this.version === '1.2' && type === contentType.changeCipherSpec) this.#phase = 'handshake';
      if (type !== contentType.data) return true;
      const secret = this.#secrets.get('SERVER_HANDSHAKE_TRAFFIC_SECRET');
      if (secret === undefined) return false;
      this.#handshakeKeys = RecordKeys.fromSecret(this.suite, secret);
      this.#phase = 'handshake';
    }
    if (this.#phase === 'open') {
      this.#keep(this.readKeys.open(raw));
      return true;
    }
    return this.version === '1.3' ? this.#takeFlight13(raw) : this.#takeFinished12(raw);
  }

  #takeFlight13(raw: Buffer): boolean {
    if (raw[0] !== contentType.data || this.#handshakeKeys === undefined) return true;
    const next = this.#secrets.get('SERVER_TRAFFIC_SECRET_0');
    // Known once OpenSSL has seen the whole flight; then nothing is missing for any record of it.
    if (next === undefined) return false;
    if (endsWithFinished(this.#handshakeKeys.open(raw).content, this.suite)) {
      this.readKeys = RecordKeys.fromSecret(this.suite, next);
      this.#phase = 'open';
    }
    return true;
  }

  #takeFinished12(raw: Buffer): boolean {
    if (!this.#deriveKeys12()) return false;
    this.readKeys.open(raw);
    this.#phase = 'open';
    return true;
  }

  #deriveKeys12(): boolean {
    if (this.writeKeys !== undefined) return true;
    const master = this.#secrets.get('CLIENT_RANDOM');
    if (master === undefined) return false;
    const { client, server } = RecordKeys.fromMaster(this.suite, master, this.#clientRandom, this.#serverRandom);
    this.writeKeys = client;
    this.readKeys = server;
    return true;
  }

  #serverHello(raw: Buffer): void {
    const random = raw.subarray(11, 43);
    if (random.equals(helloRetry)) return;
    this.#serverRandom = Buffer.from(random);
    const id = raw.readUInt16BE(44 + (raw[43] ?? 0));
    const suite = [...suites, ...suitesOnRequest].find((each) => each.id === id);
    if (suite === undefined) throw new Error(`unknown suite 0x${id.toString(16)}`);
    this.suite = suite;
    this.version = suite.version;
  }

  #keep(record: Opened): void {
    const first = record.content[0];
    if (record.type === contentType.data) this.payloadIn += record.content.length;
    if (record.type === contentType.handshake && first === 4) this.ticketsSeen++;
    else if (this.version === '1.3' && record.type === contentType.handshake && first === 24) {
      this.keyUpdates.push(record.content[4] ?? -1);
      this.readKeys.update();
    } else this.#opened.push(record);
    this.#wake?.();
  }

  /** Waits until so many KeyUpdates have come. */
  async keyUpdatesReceived(count: number): Promise<void> {
    while (this.keyUpdates.length < count) await once(this.peer.socket, 'data');
  }
}

export function keyUpdate(request: number): Buffer {
  return Buffer.from([24, 0, 0, 1, request]);
}

function alertText(content: Buffer): number | string {
  const [level = 0, description = -1] = content;
  return level === 1 && description !== alert.closeNotify ? `warning ${description}` : description;
}

function describe(record: Opened | undefined): string | undefined {
  return record && `a record of type ${record.type}: ${record.content.subarray(0, 16).toString('hex')}`;
}

/** Where in what the client sends its Finished flight starts: the first sealed record (1.3), its ChangeCipherSpec (1.2). */
function startOfFinished(chunk: Buffer, version: TlsVersion): number | undefined {
  const first = version === '1.3' ? contentType.data : contentType.changeCipherSpec;
  for (let at = 0; at + 5 <= chunk.length; at += 5 + chunk.readUInt16BE(at + 3)) {
    if (chunk[at] === first) return at;
  }
  return undefined;
}

/** Finished closes the server's flight: its header stands right before its hash-long end. */
function endsWithFinished(content: Buffer, suite: Suite): boolean {
  const length = suite.hash === 'sha384' ? 48 : 32;
  const at = content.length - length - 4;
  return at >= 0 && content.readUInt32BE(at) === 0x14000000 + length;
}
