// SPDX-License-Identifier: MIT
// A worker that has used up its descriptors, and a queue of clients that wait for one: the new worker keeps room for the sessions that
// are to come, so all of them move, and who waits is served when somebody leaves. Else those without room would keep the old worker.
// Not in the kernel lab: descriptors are the same whoever carries the records.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { survivors } from '../helpers/processes.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { upgradeAsked } from '../helpers/upgrade.ts';

const echo = await startEcho();
const files = 220;
/** More than there is room for. */
const most = 150;

test('every session moves, whoever waits', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  // What a service starts with leaves room: the limit is lowered in each of its workers.
  const narrow = join(directory, 'narrow.cjs');
  const limit = `['--pid', String(process.pid), '--nofile=${files}:${files}']`;
  writeFileSync(
    narrow,
    `if (/worker.main\\.js$/.test(process.argv[1])) require('node:child_process').execFileSync('prlimit', ${limit});\n`,
  );
  const proxy = await startProxy({
    config: { threads: { handshake: 1, relay: 2 }, timeouts: { handshake: '1m' } },
    listeners: [{ backend: echo.address }],
    env: { NODE_OPTIONS: `--require=${narrow}` },
  });
  t.after(() => proxy.stop());
  const served: RawTlsClient[] = [];
  let leaving = false;
  const opening = Array.from({ length: most }, async () => {
    const client = await RawTlsClient.connect({ port: proxy.port });
    client.sendData('first');
    await client.readData(5);
    if (leaving) client.peer.reset();
    else served.push(client);
  });
  await proxy.log.waitFor({ error_msg: 'not accepting for the moment' });

  for (let round = 0; round < 3; round++) {
    const old = [proxy.masterPid(), proxy.workerPid()];
    const { sessions } = await upgradeAsked(proxy);
    assert.is(sessions.kept, 0, sessions.reason);
    assert.is(sessions.lost, 0);
    assert.equal(await survivors(old), []);
  }
  assert.ok(served.length > 60 && served.length < most, `${served.length} of ${most} were served`);
  for (const client of served) client.sendData('still here');
  for (const client of served) assert.is((await client.readData(10)).toString(), 'still here');
  leaving = true;
  for (const client of served) client.peer.reset();
  await Promise.all(opening);
});
