// SPDX-License-Identifier: MIT
// Visits that say small things and hear them again: with and without a ticket, with new keys, for a moment or for minutes.
import type { TLSSocket } from 'node:tls';
import { KnownStream } from '../../test/helpers/known-stream.ts';
import { RawTlsClient } from '../../test/helpers/raw-tls-client.ts';
import { only, type TlsClient, tlsConnect } from '../../test/helpers/tls-client.ts';
import { alert, type TlsVersion } from '../../test/helpers/tls-records.ts';
import { below, expect, expectEnd, type Scene, versionOf } from './scene.ts';

const mostTickets = 32;

export async function request(scene: Scene): Promise<void> {
  const version = versionOf(scene);
  const client = await tlsConnect({ port: scene.ports.plain, ...only(version) });
  keepTickets(scene, version, client.socket);
  await talk(scene, client);
  await part(client);
}

export async function resumed(scene: Scene): Promise<void> {
  const version = versionOf(scene);
  const { length } = scene.tickets[version];
  if (length === 0) return request(scene);
  const session = scene.tickets[version][below(scene, length)] as Buffer;
  const client = await tlsConnect({ port: scene.ports.plain, session, ...only(version) });
  expect(client.socket.isSessionReused(), `a ticket of TLS ${version} was not taken`);
  await talk(scene, client);
  await part(client);
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

export async function rekey(scene: Scene): Promise<void> {
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

export async function nameInTheHeader(scene: Scene): Promise<void> {
  const { socket, peer, port } = await tlsConnect({ port: scene.ports.proxied, ...only(versionOf(scene)) });
  const { data, end } = await peer.outcome();
  if (data.length > 0) scene.answered();
  expectEnd(end);
  expect(data === `127.0.0.1:${port}`, `the PROXY header names ${data}`);
  socket.end();
}

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

function keepTickets(scene: Scene, version: TlsVersion, socket: TLSSocket): void {
  const keep = (session: Buffer | undefined) => {
    const list = scene.tickets[version];
    if (session !== undefined) list.push(session);
    if (list.length > mostTickets) list.shift();
  };
  if (version === '1.3') socket.once('session', keep);
  else keep(socket.getSession());
}
