// SPDX-License-Identifier: MIT
// What visitors do, each from connect to the end, with everything that comes back looked at. One that returns has seen what it should.
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { clientHello } from '../../test/helpers/client-hello.ts';
import { KnownStream } from '../../test/helpers/known-stream.ts';
import { Peer } from '../../test/helpers/peer.ts';
import { RawTlsClient } from '../../test/helpers/raw-tls-client.ts';
import { only, type TlsClient, tlsConnect } from '../../test/helpers/tls-client.ts';
import { alert, contentType, type TlsVersion } from '../../test/helpers/tls-records.ts';

/** What nothing may excuse, as the death of a worker excuses a reset. */
export class WrongError extends Error {}

export interface Scene {
  /** Ports of the proxy: to the service, to the one that wants a PROXY header, to one where nobody listens. */
  readonly ports: { readonly plain: number; readonly proxied: number; readonly dead: number };
  readonly random: () => number;
  /** Tickets by version, newest last. */
  readonly tickets: Readonly<Record<TlsVersion, Buffer[]>>;
  /** The first byte of an answer has come: the session is known at both ends. */
  readonly answered: () => void;
  readonly wait: (ms: number) => Promise<void>;
}
export type Visit = (scene: Scene) => Promise<void>;

const mostTickets = 32;

const below = (scene: Scene, most: number): number => Math.floor(scene.random() * most);
const versionOf = (scene: Scene): TlsVersion => (scene.random() < 0.5 ? '1.2' : '1.3');
function pick<T>(scene: Scene, from: readonly T[]): T {
  return from[below(scene, from.length)] as T;
}
function expect(right: boolean, what: string): void {
  if (!right) throw new WrongError(what);
}

// --- ordinary clients

/** Says something and hears it, a few times. */
async function talk(scene: Scene, { socket, peer }: TlsClient): Promise<void> {
  socket.write('echo\n');
  const words = new KnownStream(below(scene, 256));
  for (let left = 1 + below(scene, 8); left > 0; left--) {
    const said = words.next(1 + below(scene, 512));
    socket.write(said);
    expect((await peer.read(said.length)).equals(said), 'another answer than what was said');
    scene.answered();
  }
}

/** Ends our side; the other has to follow in order. */
async function part({ socket, peer }: TlsClient): Promise<void> {
  socket.end();
  expectEnd(await peer.end);
}
function expectEnd(end: string): void {
  if (end !== 'fin') throw new Error(`the connection ended with ${end}`);
}

function keepTickets(scene: Scene, version: TlsVersion, socket: TLSSocket): void {
  const keep = (session: Buffer | undefined) => {
    const list = scene.tickets[version];
    if (session !== undefined) list.push(session);
    if (list.length > mostTickets) list.shift();
  };
  if (version === '1.3') socket.once('session', keep);
  else keep(socket.getSession());
}

async function request(scene: Scene): Promise<void> {
  const version = versionOf(scene);
  const client = await tlsConnect({ port: scene.ports.plain, ...only(version) });
  keepTickets(scene, version, client.socket);
  await talk(scene, client);
  await part(client);
}

async function resumed(scene: Scene): Promise<void> {
  const version = versionOf(scene);
  const { length } = scene.tickets[version];
  if (length === 0) return request(scene);
  const session = scene.tickets[version][below(scene, length)] as Buffer;
  const client = await tlsConnect({ port: scene.ports.plain, session, ...only(version) });
  expect(client.socket.isSessionReused(), `a ticket of TLS ${version} was not taken`);
  await talk(scene, client);
  await part(client);
}

async function download(scene: Scene): Promise<void> {
  const bytes = 1 + below(scene, 4 << 20);
  const seed = below(scene, 256);
  const { socket, peer } = await tlsConnect({ port: scene.ports.plain, taking: 'hash', ...only(versionOf(scene)) });
  socket.write(`down ${bytes} ${seed}\n`);
  await whole(scene, socket, peer, bytes, seed);
}

/** Stops reading again and again. */
async function slowDownload(scene: Scene): Promise<void> {
  const bytes = 4 << 20;
  const seed = below(scene, 256);
  const { socket, peer } = await tlsConnect({ port: scene.ports.plain, taking: 'hash', ...only(versionOf(scene)) });
  socket.write(`down ${bytes} ${seed}\n`);
  for (let stops = 0; stops < 8 && peer.ending === undefined; stops++) {
    socket.pause();
    await scene.wait(500);
    socket.resume();
    await scene.wait(20);
  }
  await whole(scene, socket, peer, bytes, seed);
}

async function whole(scene: Scene, socket: TLSSocket, peer: Peer, bytes: number, seed: number): Promise<void> {
  const end = await peer.end;
  if (peer.received > 0) scene.answered();
  expectEnd(end);
  expect(peer.received === bytes, `${peer.received} bytes of ${bytes}, and an end in order`);
  expect((await peer.hash()) === hashOf(bytes, seed), 'other bytes than were sent');
  socket.end();
}

function hashOf(bytes: number, seed: number): string {
  const stream = new KnownStream(seed);
  for (let left = bytes; left > 0; left -= 1 << 16) stream.next(Math.min(left, 1 << 16));
  return stream.digest();
}

/** The client ends first and hears what the service has got. */
async function upload(scene: Scene): Promise<void> {
  const { socket, peer } = await tlsConnect({ port: scene.ports.plain, ...only(versionOf(scene)) });
  socket.write('up\n');
  const hash = await sendStream(scene, socket);
  const { data, end } = await peer.outcome();
  if (data.length > 0) scene.answered();
  expectEnd(end);
  expect(data === hash, 'the service got other bytes than were sent');
}

/** The service ends first; what the client goes on to send has to arrive. */
async function afterTheirEnd(scene: Scene): Promise<void> {
  const version = versionOf(scene);
  const id = `${process.pid}-${below(scene, 2 ** 48)}`;
  const { socket, peer } = await tlsConnect({ port: scene.ports.plain, ...only(version) });
  socket.write(`first ${id}\n`);
  const { data, end } = await peer.outcome();
  expectEnd(end);
  expect(data === 'bye', 'another farewell than was said');
  scene.answered();
  const closed = once(socket, 'close');
  // It may fail while we still send.
  closed.catch(() => {});
  const hash = await sendStream(scene, socket);
  await closed;
  // The service has read to the end before we are told of ours, or soon after.
  for (let tries = 0; ; tries++) {
    const ask = await tlsConnect({ port: scene.ports.plain });
    ask.socket.end(`seen ${id}\n`);
    const { data: seen, end: endOfAsking } = await ask.peer.outcome();
    expectEnd(endOfAsking);
    if (seen === 'nothing' && tries < 10) await scene.wait(100);
    else return expect(seen === hash, `the service got ${seen}, not what was sent after its end`);
  }
}

/** Up to a MiB and the end; its SHA-256. */
async function sendStream(scene: Scene, socket: TLSSocket): Promise<string> {
  const stream = new KnownStream(below(scene, 256));
  for (let left = 1 + below(scene, 1 << 20); left > 0; left -= 1 << 16) {
    if (!socket.write(stream.next(Math.min(left, 1 << 16)))) await drained(socket);
  }
  socket.end();
  return stream.digest();
}

/** Until it takes more, or has ended. */
function drained(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    if (socket.destroyed) resolve();
    else socket.on('drain', done).on('close', done);
  });
}

/** Small messages both ways for as long as an upgrade takes to come by, with new keys now and then. */
export async function stay(scene: Scene): Promise<void> {
  const version = versionOf(scene);
  const client = await RawTlsClient.connect({ port: scene.ports.plain, version });
  client.sendData('echo\n');
  const words = new KnownStream(below(scene, 256));
  for (let left = 300 + below(scene, 600); left > 0; left--) {
    const said = words.next(1 + below(scene, 1024));
    client.sendData(said);
    const heard = await client.readData(said.length);
    expect(heard.equals(said), 'another answer than what was said');
    scene.answered();
    if (version === '1.3' && below(scene, 30) === 0) client.sendKeyUpdate(below(scene, 2));
    await scene.wait(100);
  }
  await leave(client);
}

async function rekey(scene: Scene): Promise<void> {
  const client = await RawTlsClient.connect({ port: scene.ports.plain, version: '1.3' });
  client.sendData('echo\n');
  for (let i = 0; i < 8; i++) {
    client.sendKeyUpdate(1);
    client.sendData(`generation ${i}`);
    expect((await client.readData(12)).toString() === `generation ${i}`, 'another answer after new keys');
    scene.answered();
  }
  expect(client.keyUpdates.length === 8, `${client.keyUpdates.length} of 8 key updates were answered`);
  await leave(client);
}

async function leave(client: RawTlsClient): Promise<void> {
  client.sendAlert(alert.closeNotify);
  const { end, alerts } = await client.outcome();
  expectEnd(end);
  expect(alerts.join() === String(alert.closeNotify), `the end came with alerts ${alerts}`);
}

async function nameInTheHeader(scene: Scene): Promise<void> {
  const { socket, peer, port } = await tlsConnect({ port: scene.ports.proxied, ...only(versionOf(scene)) });
  const { data, end } = await peer.outcome();
  if (data.length > 0) scene.answered();
  expectEnd(end);
  expect(data === `127.0.0.1:${port}`, `the PROXY header names ${data}`);
  socket.end();
}

// --- ends that are no clients' fault

async function nobodyThere(scene: Scene): Promise<void> {
  const client = await RawTlsClient.connect({ port: scene.ports.dead, version: versionOf(scene) });
  const { end, alerts } = await client.outcome();
  expectEnd(end);
  expect(alerts.join() === String(alert.internalError), `without a backend came alerts ${alerts}`);
}

async function theirReset(scene: Scene): Promise<void> {
  const client = await RawTlsClient.connect({ port: scene.ports.plain, version: versionOf(scene) });
  client.sendData(`reset ${1 + below(scene, 1 << 16)}\n`);
  const { end, alerts } = await client.outcome();
  scene.answered();
  expect(end === 'reset' && alerts.length === 0, `a reset answer ended with ${end} and alerts ${alerts}`);
}

// --- clients that do wrong

/** RST at every stage from connecting to the middle of data. */
async function resetSomewhere(scene: Scene): Promise<void> {
  const { plain: port } = scene.ports;
  const version = versionOf(scene);
  const stage = below(scene, 6);
  if (stage < 3) {
    const peer = await Peer.connect({ port });
    if (stage > 0)
      await written(peer, stage === 1 ? clientHello({ version }).subarray(0, 70) : clientHello({ version }));
    return peer.reset();
  }
  const client = await RawTlsClient.connect({ port, version, holdFinished: stage === 3 });
  if (stage === 5) {
    client.sendData('down 200000 1\n');
    await client.readData(100).catch(() => {});
  }
  client.peer.reset();
}

/** FIN inside the handshake, without close_notify, and in the middle of a record. */
async function endSomewhere(scene: Scene): Promise<void> {
  const { plain: port } = scene.ports;
  const version = versionOf(scene);
  const stage = below(scene, 4);
  if (stage < 2) {
    const peer = await Peer.connect({ port });
    peer.finish(clientHello({ version }).subarray(0, stage === 0 ? 90 : undefined));
    await peer.end;
    return;
  }
  const client = await RawTlsClient.connect({ port, version });
  client.sendData('echo\n');
  if (stage === 3) client.peer.write(client.seal(contentType.data, 'half of it').subarray(0, 12));
  client.peer.finish();
  await client.outcome();
}

async function garbage(scene: Scene): Promise<void> {
  const peer = await Peer.connect({ port: scene.ports.plain });
  peer.write(Buffer.from(Array.from({ length: 1 + below(scene, 300) }, () => below(scene, 256))));
  await scene.wait(50);
  peer.finish();
  await peer.end;
}

async function brokenRecord(scene: Scene): Promise<void> {
  const client = await RawTlsClient.connect({ port: scene.ports.plain, version: versionOf(scene) });
  client.sendData('echo\n');
  const { flip, header, expected } = pick(scene, [
    { flip: true, header: undefined, expected: alert.badRecordMac },
    { flip: false, header: Buffer.from([contentType.data, 3, 3, 0xff, 0xff]), expected: alert.recordOverflow },
  ]);
  if (header !== undefined) client.peer.write(Buffer.concat([header, Buffer.alloc(100)]));
  else client.sendData('broken', { flip });
  const { end, alerts } = await client.outcome();
  expectEnd(end);
  expect(alerts.join() === String(expected), `a broken record was answered with alerts ${alerts}`);
}

/** Says nothing for a while, then leaves. */
async function silence(scene: Scene): Promise<void> {
  const peer = await Peer.connect({ port: scene.ports.plain });
  await scene.wait(1000);
  peer.finish();
  await peer.end;
}

function written(peer: Peer, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => peer.socket.write(bytes, () => resolve()));
}

/** With how often each comes. */
export const visits: Readonly<Record<string, { readonly visit: Visit; readonly weight: number }>> = {
  'full handshake and requests': { visit: request, weight: 8 },
  'resumed handshake and requests': { visit: resumed, weight: 8 },
  'bulk down': { visit: download, weight: 2 },
  'bulk up, client ends first': { visit: upload, weight: 2 },
  'service ends first': { visit: afterTheirEnd, weight: 2 },
  'slow reader': { visit: slowDownload, weight: 1 },
  'new keys': { visit: rekey, weight: 2 },
  'PROXY header': { visit: nameInTheHeader, weight: 2 },
  'no backend': { visit: nobodyThere, weight: 1 },
  'reset by the service': { visit: theirReset, weight: 2 },
  'RST somewhere': { visit: resetSomewhere, weight: 4 },
  'FIN somewhere': { visit: endSomewhere, weight: 4 },
  garbage: { visit: garbage, weight: 2 },
  'broken record': { visit: brokenRecord, weight: 2 },
  silence: { visit: silence, weight: 1 },
};
