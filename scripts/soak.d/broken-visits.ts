// SPDX-License-Identifier: MIT
// Visits that end otherwise than in order: for want of a backend, by its reset, or because the client does wrong.
import { clientHello } from '../../test/helpers/client-hello.ts';
import { Peer } from '../../test/helpers/peer.ts';
import { RawTlsClient } from '../../test/helpers/raw-tls-client.ts';
import { alert, contentType } from '../../test/helpers/tls-records.ts';
import { below, expect, expectEnd, pick, type Scene, versionOf } from './scene.ts';

export async function nobodyThere(scene: Scene): Promise<void> {
  const client = await RawTlsClient.connect({ port: scene.ports.dead, version: versionOf(scene) });
  const { end, alerts } = await client.outcome();
  expectEnd(end);
  expect(alerts.join() === String(alert.internalError), `without a backend came alerts ${alerts}`);
}

export async function theirReset(scene: Scene): Promise<void> {
  const client = await RawTlsClient.connect({ port: scene.ports.plain, version: versionOf(scene) });
  client.sendData(`reset ${1 + below(scene, 1 << 16)}\n`);
  const { end, alerts } = await client.outcome();
  scene.answered();
  expect(end === 'reset' && alerts.length === 0, `a reset answer ended with ${end} and alerts ${alerts}`);
}

/** RST at every stage from connecting to the middle of data. */
export async function resetSomewhere(scene: Scene): Promise<void> {
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
export async function endSomewhere(scene: Scene): Promise<void> {
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

export async function garbage(scene: Scene): Promise<void> {
  const peer = await Peer.connect({ port: scene.ports.plain });
  peer.write(Buffer.from(Array.from({ length: 1 + below(scene, 300) }, () => below(scene, 256))));
  await scene.wait(50);
  peer.finish();
  await peer.end;
}

export async function brokenRecord(scene: Scene): Promise<void> {
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
export async function silence(scene: Scene): Promise<void> {
  const peer = await Peer.connect({ port: scene.ports.plain });
  await scene.wait(1000);
  peer.finish();
  await peer.end;
}

function written(peer: Peer, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => peer.socket.write(bytes, () => resolve()));
}
