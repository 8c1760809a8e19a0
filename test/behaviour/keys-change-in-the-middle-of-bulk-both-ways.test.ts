// SPDX-License-Identifier: MIT
// Both sides change their keys as often as they may while full records flow both ways, as RFC 8446 section 4.6.3 lets them; common
// clients do it where a user says so. Where the kernel changes them, its own counters tell that it did as often as was asked of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { startBackend, startEcho } from '../helpers/backends.ts';
import { tlsStat } from '../helpers/engines.ts';
import { KnownStream, writeStream } from '../helpers/known-stream.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { alert, contentType } from '../helpers/tls-records.ts';
import { openSession, type Variant, variants } from '../helpers/variants.ts';

const full = 16_384;
const total = 160 * full;
const backend = await startBackend({ taking: 'hash' });
const echo = await startEcho();
const listeners = [
  { name: 'hashing', backend: backend.address },
  { name: 'echo', backend: echo.address },
];
const plain = await variants({ listeners }, ['1.3']);
const env = { IRONSOCKET_TEST_KEY_UPDATE_RECORDS: '20' };
const limited = (await variants({ listeners, env }, ['1.3'])).filter(({ rekeys }) => rekeys.rx && rekeys.tx);

/** By how much the kernel's counters of changed keys have grown. */
function rekeysSince(before: Readonly<Record<string, number>>): { rx: number; tx: number; errors: number } {
  const now = tlsStat();
  const grown = (name: string): number => (now[name] ?? 0) - (before[name] ?? 0);
  const errors = grown('TlsRxRekeyError') + grown('TlsTxRekeyError') + grown('TlsDecryptError');
  return { rx: grown('TlsRxRekeyOk'), tx: grown('TlsTxRekeyOk'), errors };
}

const hasKernel = (variant: Variant): boolean => variant.rx === 'kernel' || variant.tx === 'kernel';

/** Bulk both ways, `perRound` KeyUpdates of the client in front of every fourth record. */
async function storm(variant: Variant, perRound: number, request: number): Promise<{ theirs: number; ours: number }> {
  const { client, server } = await openSession(variant, backend);
  const down = writeStream(server.socket, total, 2);
  const stream = new KnownStream(1);
  let theirs = 0;
  const up = (async (): Promise<void> => {
    for (let i = 0; i < total / full; i++) {
      for (let k = 0; i % 4 === 0 && k < perRound; k++) {
        client.sendKeyUpdate(request);
        theirs++;
      }
      const written = client.peer.socket.write(client.seal(contentType.data, stream.next(full)));
      if (!written) await once(client.peer.socket, 'drain');
    }
  })();
  const got = await client.readData(total);
  await Promise.all([up, down]);
  client.sendAlert(alert.closeNotify);
  assert.ok(got.equals(new KnownStream(2).next(total)), 'backend to client');
  assert.is(await server.hash(), stream.digest(), 'client to backend');
  server.finish();
  assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
  assert.is((await variant.proxy.sessionEnd(client.port)).reason, 'closed');
  return { theirs, ours: client.keyUpdates.length };
}

for (const variant of plain.filter(({ rekeys }) => rekeys.rx)) {
  for (const [perRound, request] of [
    [1, 0],
    [32, 0],
    [1, 1],
    [32, 1],
  ] as const) {
    if (request === 1 && !variant.rekeys.tx) continue;
    const asks = request === 1 ? ', asking for ours' : '';
    test(`${variant.label}: ${perRound} at a time by the client${asks}`, async () => {
      const before = hasKernel(variant) ? tlsStat() : {};
      const { theirs, ours } = await storm(variant, perRound, request);
      assert.is(ours > 0, request === 1);
      if (!hasKernel(variant)) return;
      const expected = { rx: variant.rx === 'kernel' ? theirs : 0, tx: variant.tx === 'kernel' ? ours : 0, errors: 0 };
      assert.equal(rekeysSince(before), expected);
    });
  }
}

for (const variant of limited) {
  test(`${variant.label}: ours, by the limit of the keys, and the client's`, async () => {
    const before = hasKernel(variant) ? tlsStat() : {};
    const { theirs, ours } = await storm(variant, 2, 0);
    assert.ok(ours >= total / full / (20 + 16) - 1, `${ours} KeyUpdates`);
    if (!hasKernel(variant)) return;
    const expected = { rx: variant.rx === 'kernel' ? theirs : 0, tx: variant.tx === 'kernel' ? ours : 0, errors: 0 };
    assert.equal(rekeysSince(before), expected);
  });
}

for (const variant of plain.filter(({ rekeys }) => !rekeys.rx || !rekeys.tx)) {
  const { rekeys } = variant;
  for (const asks of [0, 1]) {
    if (rekeys.rx && asks === 0) continue;
    test(`${variant.label}: a KeyUpdate(${asks}) in the middle ends the session at once, and says why`, async () => {
      const { client, server } = await openSession(variant, backend);
      const down = writeStream(server.socket, 4 * total, 2).catch(() => 'reset');
      await client.read();
      for (let i = 0; i < 40; i++) client.sendData(Buffer.alloc(full));
      client.sendKeyUpdate(asks);
      for (let i = 0; i < 40; i++) client.sendData(Buffer.alloc(full));
      const begun = performance.now();
      const { alerts, end } = await client.outcome();
      assert.equal([alerts, end], [[alert.internalError], 'fin']);
      assert.ok(performance.now() - begun < 2000 * timeFactor);
      assert.is(await server.end, 'reset');
      server.socket.destroy();
      await Promise.race([down, new Promise((resolve) => setTimeout(resolve, 10))]);
      const line = await variant.proxy.sessionEnd(client.port);
      assert.equal([line.reason, line.alert], ['no_rekey', 'internal_error']);
    });
  }
}

interface Talk {
  readonly type: (text: string) => void;
  /** Waits until it has said this, behind what was waited for before. */
  readonly said: (text: string) => Promise<void>;
  readonly kill: () => void;
}

/** A program that is typed at. */
function talk(program: string, args: readonly string[]): Talk {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  let look = (): void => {};
  for (const out of [child.stdout, child.stderr]) {
    out.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      look();
    });
  }
  const said = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const late = (): void => reject(new Error(`${program}: no ${text} in ${output.slice(-500)}`));
      const timer = setTimeout(late, 10_000 * timeFactor);
      look = (): void => {
        const at = output.indexOf(text);
        if (at < 0) return;
        output = output.slice(at + text.length);
        clearTimeout(timer);
        resolve();
      };
      look();
    });
  return { type: (text) => child.stdin.write(text), said, kill: () => child.kill('SIGKILL') };
}

for (const variant of plain) {
  const { rekeys, proxy } = variant;
  const port = String(proxy.ports[1] ?? 0);
  const openssl = ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_3', '-servername', 'localhost'];
  const gnutls = ['--insecure', '--inline-commands', '--priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.3', '--port', port];
  for (const [program, args, command, answer, possible] of [
    ['openssl', openssl, 'k', 'KEYUPDATE', rekeys.rx],
    ['openssl', openssl, 'K', 'KEYUPDATE', rekeys.rx && rekeys.tx],
    ['gnutls-cli', [...gnutls, '127.0.0.1'], '^rekey^', 'Rekey was completed', rekeys.rx && rekeys.tx],
  ] as const) {
    test(`${variant.label}: ${program}, ${command} typed between lines`, async (t) => {
      const { type, said, kill } = talk(program, args);
      t.after(kill);
      type('first line\n');
      await said('first line');
      const from = proxy.log.lines.length;
      type(`${command}\n`);
      if (!possible) {
        const line = await proxy.log.waitFor({ subevent: 'client_disconnect', reason: 'no_rekey' }, { from });
        assert.is(line.alert, 'internal_error');
        return;
      }
      await said(answer);
      for (let i = 0; i < 5; i++) {
        type(`line ${i} behind it\n`);
        await said(`line ${i} behind it`);
        type(`${command}\n`);
        await said(answer);
      }
    });
  }
}
