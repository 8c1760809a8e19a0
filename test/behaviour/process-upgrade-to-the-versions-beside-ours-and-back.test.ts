// SPDX-License-Identifier: MIT
// A version that writes its sessions in the next format takes ours, and we take them back: a downgrade is an upgrade. One that is two
// formats away is refused before anything has happened; where it was not seen in time, no session goes.
// Not in the kernel lab: frames are the same there, and native tests have those of its sessions.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { root } from '../helpers/installation.ts';
import { versions } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { otherVersion, setHandoffVersion, upgradeByCommand } from '../helpers/upgrade.ts';
import { proxies } from '../helpers/variants.ts';

const echo = await startEcho();
const ours = 1;

for (const { engine, proxy } of await proxies({ listeners: [{ backend: echo.address }] })) {
  const open = async (): Promise<readonly Streaming[]> =>
    Promise.all(versions.map(async (version) => stream(await RawTlsClient.connect({ port: proxy.port, version }))));

  test(
    `${engine.label}: there and back, with every byte`,
    async (t) => {
      const next = otherVersion('9.9.9', (directory) => setHandoffVersion(directory, ours + 1));
      t.after(next.remove);
      const sessions = await open();
      for (const to of [next.directory, root]) {
        const { code, stderr, report } = await upgradeByCommand(proxy, '--to', to);
        assert.is(code, 0, stderr);
        assert.is(report?.to === '9.9.9', to === next.directory);
        assert.is(report?.sessions.moved, sessions.length);
        assert.is(report?.sessions.kept, 0);
      }
      for (const session of sessions) assert.ok((await session.stop()) > 0);
    },
    { deadline: 60_000 },
  );

  test(
    `${engine.label}: two formats away`,
    async (t) => {
      const far = otherVersion('9.9.9', (directory) => setHandoffVersion(directory, ours + 2));
      t.after(far.remove);
      const sessions = await open();
      const refused = await upgradeByCommand(proxy, '--to', far.directory);
      assert.is(refused.code, 75);
      assert.match(
        refused.stderr,
        /9\.9\.9 can't take over: it knows sessions of version 2 to 4, and those here have version 1/,
      );

      const verdict = { version: '9.9.9', node: '', openssl: '' };
      writeFileSync(
        join(far.directory, 'dist/upgrade/preflight-main.js'),
        `console.log(${JSON.stringify(JSON.stringify(verdict))})`,
      );
      const { code, stderr, report } = await upgradeByCommand(proxy, '--to', far.directory);
      assert.is(code, 0, stderr);
      assert.is(report?.sessions.moved, 0);
      assert.is(report?.sessions.kept, sessions.length);
      assert.match(report?.sessions.reason ?? '', /does not know this version of the handoff/);
      const back = await upgradeByCommand(proxy, '--to', root);
      assert.is(back.code, 75, 'nor does it let its own go to the version before the last');
      for (const session of sessions) assert.ok((await session.stop()) > 0);
    },
    { deadline: 60_000 },
  );
}

interface Streaming {
  /** Bytes that came back in order. */
  readonly stop: () => Promise<number>;
}

/** Echoes one piece after the other until it is stopped. */
function stream(client: RawTlsClient): Streaming {
  let stopped = false;
  let bytes = 0;
  const running = (async () => {
    while (!stopped) {
      const piece = Buffer.alloc(4_000, bytes % 251);
      client.sendData(piece);
      assert.ok((await client.readData(piece.length)).equals(piece));
      bytes += piece.length;
    }
  })();
  running.catch(() => {});
  return {
    stop: async () => {
      stopped = true;
      await running;
      client.peer.reset();
      return bytes;
    },
  };
}
