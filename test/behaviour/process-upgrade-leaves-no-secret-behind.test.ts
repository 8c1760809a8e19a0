// SPDX-License-Identifier: MIT
// Whose session it is has its keys, and nobody else: not the worker that it came from, no master, no keeper, no log and no file. Nor is
// a certificate's key found as text where it was only used.
// In the kernel lab on the newest alone: before it, no secret is kept for keys to come.

import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import * as assert from 'uvu/assert';
import { controlDirectory } from '../../src/admin/places.ts';
import { startEcho } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { inBytes, inFiles, inMemory, inProcess, type Needles } from '../helpers/memory.ts';
import { type RunningProxy, versions } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { upgradeBySignal } from '../helpers/upgrade.ts';
import { proxies, type Variant, variantOf } from '../helpers/variants.ts';

const echo = await startEcho();
// A connection in the middle of its handshake keeps the old worker alive.
const config = { timeouts: { handshake: '60s' } };
const skip = process.geteuid?.() === 0 ? undefined : 'only root reads the memory of others';

for (const { engine, proxy } of await proxies({ listeners: [{ backend: echo.address }], config })) {
  test(
    `${engine.label}: what the old worker gave away is not left in it, and never came to others`,
    async (t) => {
      const sessions = await Promise.all(versions.map((version) => open(variantOf(proxy, engine, version))));
      const held = Object.assign({}, ...sessions.map(({ now }) => now));
      const over = Object.assign({}, ...sessions.map(({ before }) => before));
      const all: Needles = { ...held, ...over };
      const pem = { pem: Buffer.from(readFileSync(ecdsa.key, 'latin1').split('\n')[1] ?? '') };
      const names = Object.keys(held).sort();

      const [donor, oldMaster] = [proxy.workerPid(), masterOf(proxy)];
      assert.equal(inProcess(donor, held), names, 'who has the sessions has their keys');
      assert.equal(inProcess(oldMaster, pem), ['pem']);
      await connecting(proxy, t.after);
      await upgradeBySignal(proxy);
      for (const { client } of sessions) await say(client, 'after');

      const [owner, master] = [proxy.workerPid(), masterOf(proxy)];
      assert.is.not(owner, donor);
      assert.equal(inProcess(owner, { ...all, ...pem }), names, 'the new worker has what holds, and nothing else');
      assert.equal(inProcess(donor, { ...all, ...pem }), [], 'the old worker');
      assert.equal(inProcess(oldMaster, all), [], 'the old master');
      assert.equal(inProcess(master, all), [], 'the new master');
      assert.equal(inProcess(proxy.keeperPid, all), [], 'the keeper');
      assert.equal(inMemory(proxy.keeperPid, pem), [], 'the keeper only holds the file');
      for (const directory of [controlDirectory(), proxy.directory]) assert.equal(inFiles(directory, all), []);
      const log = Buffer.from(JSON.stringify(proxy.log.lines));
      assert.equal(inBytes(log, { ...all, ...hex(all), ...pem }), [], 'the log');
      for (const { client } of sessions) client.peer.reset();
    },
    { skip, deadline: 60_000 },
  );
}

interface Session {
  readonly client: RawTlsClient;
  /** What its keys are, and what they were. */
  readonly now: Needles;
  readonly before: Needles;
}

/** A session whose keys have changed, where they can. */
async function open({ proxy, version, rekeys }: Variant): Promise<Session> {
  const client = await RawTlsClient.connect({ port: proxy.port, version });
  await say(client, 'before');
  const first = needlesOf(client, `${version} first`);
  if (version === '1.2' || !rekeys.rx || !rekeys.tx) return { client, now: first, before: {} };
  client.sendKeyUpdate(1);
  await say(client, 'under the next keys');
  return { client, now: needlesOf(client, `${version} next`), before: first };
}

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

/** The last that was started; an older one may still be leaving. */
function masterOf({ log }: RunningProxy): number {
  return Number(log.all({ process_type: 'master', event: 'startup' }).at(-1)?.pid);
}

function needlesOf(client: RawTlsClient, generation: string): Needles {
  const parts = Object.entries({ write: client.writeKeys, read: client.readKeys }).flatMap(([direction, keys]) =>
    Object.entries(keys.secrets()).map(([kind, bytes]) => [`${generation} ${direction} ${kind}`, bytes] as const),
  );
  return Object.fromEntries(parts);
}

function hex(all: Needles): Needles {
  return Object.fromEntries(
    Object.entries(all).map(([name, bytes]) => [`${name} in hex`, Buffer.from(bytes.toString('hex'))]),
  );
}

/** A client that has sent the first bytes of its ClientHello. */
async function connecting({ port }: RunningProxy, after: (clean: () => unknown) => void): Promise<void> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  after(() => socket.destroy());
  await new Promise<void>((resolve) => {
    socket.on('connect', () => socket.write(Buffer.from('1603010200010001fc0303', 'hex'), () => resolve()));
  });
}
