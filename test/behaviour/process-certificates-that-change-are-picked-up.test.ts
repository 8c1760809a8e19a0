// SPDX-License-Identifier: MIT
// Renewed certificates are served without being asked to, in every way that files are replaced; the pair in use stays until a whole and
// matching one is there.
// Not in the kernel lab: it is about files.
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { derOf, ecdsa, expired, other, put, rsa, type TestCertificate } from '../helpers/certificates.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { keepConnecting } from '../helpers/reload.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { type TlsClient, tlsConnect } from '../helpers/tls-client.ts';

const echo = await startEcho();

interface Serving {
  readonly proxy: RunningProxy;
  /** In the directory of the configuration. */
  readonly cert: string;
  readonly key: string;
  /** A session that began under the first certificate. */
  readonly session: TlsClient;
}

/** Serves ecdsa from `fullchain.pem` and `privkey.pem`, which are there before the start. */
async function serving(t: TestContext): Promise<Serving> {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const [cert, key] = [join(directory, 'fullchain.pem'), join(directory, 'privkey.pem')];
  put(ecdsa.cert, cert);
  put(ecdsa.key, key);
  const proxy = await startProxy({ listeners: [{ backend: echo.address, certificates: [{ cert, key }] }] });
  t.after(() => proxy.stop());
  return { proxy, cert, key, session: await tlsConnect({ port: proxy.port }) };
}

async function served({ proxy }: Serving): Promise<Buffer> {
  const { socket } = await tlsConnect({ port: proxy.port });
  const { raw } = (socket as TLSSocket).getPeerCertificate();
  socket.destroy();
  return raw;
}

/** The renewal in the log, and what clients get from then on. */
async function renewed(serving: Serving, to: TestCertificate): Promise<void> {
  // Before anybody would look without being told.
  const line = await serving.proxy.log.waitFor({ event: 'reload', trigger: 'certificates' }, { ms: 8_000 });
  assert.equal([line.outcome, line.certificates], ['changed', serving.cert]);
  assert.ok((await served(serving)).equals(derOf(to)));
  await lives(serving);
}

async function lives({ session: { peer, socket } }: Serving): Promise<void> {
  socket.write('hello');
  assert.is((await peer.read(5)).toString(), 'hello');
}

async function waits(serving: Serving, why: RegExp): Promise<void> {
  await serving.proxy.log.waitFor({ event: 'cert_waiting', error_msg: why, file: serving.cert });
  assert.ok((await served(serving)).equals(derOf(ecdsa)), 'the old pair is served');
}

test('renamed into place, key first', async (t) => {
  const all = await serving(t);
  const attempts = keepConnecting(all.proxy.port);
  put(rsa.key, all.key);
  put(rsa.cert, all.cert);
  await renewed(all, rsa);
  assert.ok((await attempts.stop()) > 0);
  await all.proxy.log.waitFor({ event: 'cert_loaded', file: all.cert, subject: /rsa/ });
});

test('certificate first, and its key only after a while', async (t) => {
  const all = await serving(t);
  put(rsa.cert, all.cert);
  await waits(all, /does not match/);
  put(rsa.key, all.key);
  await renewed(all, rsa);
});

test('a key that is missing for a moment', async (t) => {
  const all = await serving(t);
  rmSync(all.key);
  put(other.cert, all.cert);
  await waits(all, /there is no file .*privkey\.pem/);
  put(other.key, all.key);
  await renewed(all, other);
});

test('a file that is written in halves', async (t) => {
  const all = await serving(t);
  const text = readFileSync(rsa.cert);
  put(rsa.key, all.key);
  writeFileSync(all.cert, text.subarray(0, text.length / 2));
  await waits(all, /PEM|certificate/);
  writeFileSync(all.cert, text.subarray(text.length / 2), { flag: 'a' });
  await renewed(all, rsa);
});

test('one that has expired is not taken', async (t) => {
  const all = await serving(t);
  put(expired.key, all.key);
  put(expired.cert, all.cert);
  await waits(all, /expired/);
  put(rsa.key, all.key);
  put(rsa.cert, all.cert);
  await renewed(all, rsa);
});

test('symbolic links that are moved, of files and of their directory', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  // As kubelet does: tls.crt -> ..data/tls.crt, ..data -> a directory that is replaced.
  const point = (at: string): void => {
    symlinkSync(at, join(directory, '..new'));
    renameSync(join(directory, '..new'), join(directory, '..data'));
  };
  for (const [name, pair] of [
    ['one', ecdsa],
    ['two', rsa],
  ] as const) {
    mkdirSync(join(directory, name));
    put(pair.cert, join(directory, name, 'tls.crt'));
    put(pair.key, join(directory, name, 'tls.key'));
  }
  point('one');
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(`..data/${name}`, join(directory, name));
  const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')];
  const proxy = await startProxy({ listeners: [{ backend: echo.address, certificates: [{ cert, key }] }] });
  t.after(() => proxy.stop());
  const all = { proxy, cert, key, session: await tlsConnect({ port: proxy.port }) };
  point('two');
  await renewed(all, rsa);
});

test('a directory that is replaced as a whole, and then what is in it', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(root, { recursive: true }));
  const make = (name: string, pair: TestCertificate): string => {
    mkdirSync(join(root, name));
    put(pair.cert, join(root, name, 'tls.crt'));
    put(pair.key, join(root, name, 'tls.key'));
    return join(root, name);
  };
  const directory = make('current', ecdsa);
  const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')];
  const proxy = await startProxy({ listeners: [{ backend: echo.address, certificates: [{ cert, key }] }] });
  t.after(() => proxy.stop());
  const all = { proxy, cert, key, session: await tlsConnect({ port: proxy.port }) };
  const next = make('next', rsa);
  renameSync(directory, join(root, 'old'));
  renameSync(next, directory);
  await renewed(all, rsa);
  const from = proxy.log.lines.length;
  put(other.key, key);
  put(other.cert, cert);
  // Well before anybody would look without being told.
  await proxy.log.waitFor({ event: 'reload', trigger: 'certificates' }, { from, ms: 8_000 });
  assert.ok((await served(all)).equals(derOf(other)));
});

test('files that are only touched change nothing', async (t) => {
  const all = await serving(t);
  const worker = all.proxy.log.lines.length;
  utimesSync(all.cert, new Date(), new Date());
  copyFileSync(all.key, `${all.key}.copy`);
  put(rsa.key, all.key);
  put(`${all.key}.copy`, all.key);
  // A real change afterwards is the first that is told.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.equal(
    all.proxy.log.lines.slice(worker).filter(({ event }) => event === 'reload'),
    [],
  );
  put(rsa.key, all.key);
  put(rsa.cert, all.cert);
  await renewed(all, rsa);
});

test('a later master goes on watching, and a later worker has what was renewed', async (t) => {
  const all = await serving(t);
  put(rsa.key, all.key);
  put(rsa.cert, all.cert);
  await renewed(all, rsa);
  const { proxy } = all;
  let from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  rmSync(all.cert);
  from = proxy.log.lines.length;
  all.session.socket.on('error', () => {});
  process.kill(proxy.workerPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'worker', worker_state: 'spawned' }, { from });
  assert.ok((await served(all)).equals(derOf(rsa)), 'from memory, whatever the files are');
  put(other.key, all.key);
  put(other.cert, all.cert);
  await proxy.log.waitFor({ event: 'reload', trigger: 'certificates' }, { from });
  assert.ok((await served(all)).equals(derOf(other)));
});
