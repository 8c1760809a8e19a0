// SPDX-License-Identifier: MIT
// Visits that carry many bytes, one way or the other, with every order of ends; their hashes have to agree.
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { KnownStream } from '../../test/helpers/known-stream.ts';
import type { Peer } from '../../test/helpers/peer.ts';
import { only, tlsConnect } from '../../test/helpers/tls-client.ts';
import { below, expect, expectEnd, type Scene, versionOf } from './scene.ts';

export async function download(scene: Scene): Promise<void> {
  const bytes = 1 + below(scene, 4 << 20);
  const seed = below(scene, 256);
  const { socket, peer } = await tlsConnect({ port: scene.ports.plain, taking: 'hash', ...only(versionOf(scene)) });
  socket.write(`down ${bytes} ${seed}\n`);
  await whole(scene, socket, peer, bytes, seed);
}

/** Stops reading again and again. */
export async function slowDownload(scene: Scene): Promise<void> {
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
export async function upload(scene: Scene): Promise<void> {
  const { socket, peer } = await tlsConnect({ port: scene.ports.plain, ...only(versionOf(scene)) });
  socket.write('up\n');
  const hash = await sendStream(scene, socket);
  const { data, end } = await peer.outcome();
  if (data.length > 0) scene.answered();
  expectEnd(end);
  expect(data === hash, 'the service got other bytes than were sent');
}

/** The service ends first; what the client goes on to send has to arrive. */
export async function afterTheirEnd(scene: Scene): Promise<void> {
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
