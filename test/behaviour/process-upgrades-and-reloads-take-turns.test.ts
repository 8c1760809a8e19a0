// SPDX-License-Identifier: MIT
// A reload while an upgrade runs is refused or comes after it, and is told of either way; whatever changes around an upgrade, the new
// version has it in the end, and sessions have gone on.
// Not in the kernel lab: it is about configuration and files.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import * as assert from 'uvu/assert';
import { controlDirectory } from '../../src/admin/places.ts';
import { phases } from '../../src/upgrade/report.ts';
import { startEcho } from '../helpers/backends.ts';
import { derOf, ecdsa, other, put, rsa, type TestCertificate } from '../helpers/certificates.ts';
import { ironsocket } from '../helpers/commands.ts';
import { freePort, type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { change, edit, reload } from '../helpers/reload.ts';
import { type TestContext, test as testWith } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';
import { upgradeBySignal, upgradePaused } from '../helpers/upgrade.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const echo = await startEcho();

interface Serving {
  readonly proxy: RunningProxy;
  /** In a directory that lives as long as the test. */
  readonly cert: string;
  readonly key: string;
}

async function serving(t: TestContext): Promise<Serving> {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-turns-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [cert, key] = [join(directory, 'fullchain.pem'), join(directory, 'privkey.pem')];
  put(ecdsa.cert, cert);
  put(ecdsa.key, key);
  const listeners = [{ name: 'first', backend: echo.address, certificates: [{ cert, key }] }];
  const proxy = await startProxy({ listeners, env: { IRONSOCKET_TEST_PAUSES: '1' } });
  t.after(() => proxy.stop());
  return { proxy, cert, key };
}

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

/** Adds a listener to the file and gives its port. */
async function addListener({ proxy, cert, key }: Serving, name: string): Promise<number> {
  const port = await freePort();
  edit(proxy, ({ listeners }) => {
    listeners.push({ name, listen: `127.0.0.1:${port}`, backend: echo.address, certificates: [{ cert, key }] });
  });
  return port;
}

async function serves(port: number): Promise<void> {
  const client = await RawTlsClient.connect({ port });
  await say(client, 'a visit');
  client.peer.reset();
}

async function servedCertificate({ proxy: { port } }: Serving): Promise<Buffer> {
  const { socket } = await tlsConnect({ port });
  const { raw } = (socket as TLSSocket).getPeerCertificate();
  socket.destroy();
  return raw;
}

/** The pair that is served once a renewal has been taken, within `ms` from now on. */
async function renewed(all: Serving, to: TestCertificate, from: number, ms = 9_000): Promise<void> {
  const line = await all.proxy.log.waitFor({ event: 'reload', trigger: 'certificates' }, { from, ms });
  assert.equal([line.outcome, line.certificates], ['changed', all.cert]);
  assert.ok((await servedCertificate(all)).equals(derOf(to)));
}

test('while an upgrade runs a reload is refused with a sentence and a renewed certificate waits; when it has failed both work', async (t) => {
  const all = await serving(t);
  const { proxy, cert, key } = all;
  const { from, upgrade } = await upgradePaused(proxy, 'spawning', 8);
  const port = await addListener(all, 'second');
  const sentence = 'no reload now: an upgrade is under way';
  const control = join(controlDirectory(), `${proxy.keeperPid}.sock`);
  const { code, stderr } = await ironsocket('reload', '--control', control);
  assert.is(code, 75);
  assert.match(stderr, sentence);
  const refused = await reload(proxy);
  assert.equal([refused.outcome, refused.error_msg], ['refused', sentence]);
  put(rsa.key, key);
  put(rsa.cert, cert);
  assert.is((await upgrade).code, 75);
  // Much earlier than files are looked at that nobody tells of.
  await renewed(all, rsa, from, 6_000);
  assert.is((await reload(proxy)).added, 'second');
  await serves(port);
});

test('HUP at any phase of an upgrade is answered, and what it was for is there after the next one', async (t) => {
  const all = await serving(t);
  const { proxy } = all;
  const session = await RawTlsClient.connect({ port: proxy.port });
  for (const phase of phases) {
    const from = proxy.log.lines.length;
    const upgrade = upgradeBySignal(proxy);
    await proxy.log.waitFor({ event: 'upgrade', phase }, { from });
    const port = await addListener(all, `at-${phase}`);
    const { outcome, error_msg } = await reload(proxy);
    if (outcome === 'refused') assert.match(error_msg ?? '', 'no reload now: ');
    await upgrade;
    if (outcome === 'refused') assert.is((await reload(proxy)).outcome, 'changed');
    await serves(port);
    await say(session, phase);
  }
});

test('an upgrade has the configuration at work, not what has been written since', async (t) => {
  const all = await serving(t);
  const { proxy } = all;
  const port = await addListener(all, 'not-yet');
  await upgradeBySignal(proxy);
  await tlsConnect({ port }).then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, 'ECONNREFUSED'),
  );
  assert.is((await reload(proxy)).added, 'not-yet');
  await serves(port);
});

test('a certificate that is renewed between spawning and commit is served by the new version', async (t) => {
  const all = await serving(t);
  const { proxy, cert, key } = all;
  const from = proxy.log.lines.length;
  const upgrade = upgradeBySignal(proxy);
  await proxy.log.waitFor({ event: 'worker', worker_state: 'spawned' }, { from });
  put(rsa.key, key);
  put(rsa.cert, cert);
  await upgrade;
  await renewed(all, rsa, from);
  // And the next one, when nothing else happens.
  const later = proxy.log.lines.length;
  put(other.key, key);
  put(other.cert, cert);
  await renewed(all, other, later);
});

test('a certificate that is half renewed when an upgrade comes stays, until its key is there', async (t) => {
  const all = await serving(t);
  const { proxy, cert, key } = all;
  put(rsa.cert, cert);
  const from = proxy.log.lines.length;
  await upgradeBySignal(proxy);
  assert.ok((await servedCertificate(all)).equals(derOf(ecdsa)));
  put(rsa.key, key);
  await renewed(all, rsa, from);
});

test('a session of before goes on through upgrades and reloads in turn, its listener removed as well', async (t) => {
  const all = await serving(t);
  const { proxy } = all;
  const port = await addListener(all, 'passing');
  assert.is((await reload(proxy)).added, 'passing');
  const session = await RawTlsClient.connect({ port });
  await say(session, 'before');
  await upgradeBySignal(proxy);
  await change(proxy, (document) => Object.assign(document, { max_connections: 1_000 }));
  await say(session, 'after an upgrade and a reload');
  assert.is((await change(proxy, ({ listeners }) => listeners.pop())).removed, 'passing');
  await say(session, 'without its listener');
  for (let round = 0; round < 2; round++) {
    const from = proxy.log.lines.length;
    await upgradeBySignal(proxy);
    const end = await proxy.log.waitFor({ event: 'upgrade', outcome: 'committed' }, { from });
    assert.equal([end.sessions_moved, end.sessions_kept, end.sessions_lost], ['1', '0', '0']);
    await say(session, `round ${round}`);
  }
  session.sendAlert(0);
  await session.outcome();
  const line = await proxy.sessionEnd(session.port);
  assert.equal([line.listener, line.reason], ['passing', 'closed']);
});
