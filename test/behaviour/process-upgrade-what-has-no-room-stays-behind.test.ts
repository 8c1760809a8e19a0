// SPDX-License-Identifier: MIT
// A new worker whose table of descriptors is soon full takes as many sessions as fit. The others stay where they are and live, the report
// says why, nothing leaks, and the next upgrade has room again.
// Not in the kernel lab: descriptors are the same whoever carries the records.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { root } from '../helpers/installation.ts';
import { openFiles, settledFiles } from '../helpers/processes.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { otherVersion, upgradeByCommand } from '../helpers/upgrade.ts';

const echo = await startEcho();
const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
afterAll(() => proxy.stop());
const count = 60;
const room = 60;
/** What a worker keeps for itself (kSpareFds of native/engine.cc, and those of a plan). */
const spare = 35;
const slack = 8;

async function allAnswer(clients: readonly RawTlsClient[]): Promise<void> {
  for (const client of clients) client.sendData('still here');
  for (const client of clients) assert.is((await client.readData(10)).toString(), 'still here');
}

test(
  'what does not fit stays, and comes to the next that has room',
  async (t) => {
    const idle = openFiles(proxy.workerPid()) ?? 0;
    const clients = await Promise.all(
      Array.from({ length: count }, () => RawTlsClient.connect({ port: proxy.port, version: '1.3' })),
    );
    await allAnswer(clients);
    const narrow = otherVersion('9.9.9', (directory) => {
      const main = join(directory, 'dist/worker/main.js');
      const limit = `process.getBuiltinModule('child_process').execFileSync('prlimit', ['--pid', process.pid, '--nofile=${idle + room + spare}'])`;
      writeFileSync(main, `${limit};\n${readFileSync(main, 'utf8')}`);
    });
    t.after(narrow.remove);

    const { code, stderr, report } = await upgradeByCommand(proxy, '--to', narrow.directory);
    assert.is(code, 0, stderr);
    const { moved = 0, kept = 0, reason } = report?.sessions ?? {};
    assert.is(moved + kept, count);
    assert.ok(moved >= room / 2 - slack && moved <= room / 2, `${moved} moved`);
    assert.match(reason ?? '', /no room for more descriptors/);
    await allAnswer(clients);

    const narrowWorker = proxy.workerPid();
    const next = await upgradeByCommand(proxy, '--to', root);
    assert.is(next.code, 0, next.stderr);
    assert.is(next.report?.sessions.moved, moved);
    assert.is(next.report?.sessions.kept, 0);
    assert.is.not(proxy.workerPid(), narrowWorker);
    await allAnswer(clients);

    for (const client of clients) client.peer.reset();
    await settledFiles(() => [proxy.workerPid()]);
    const left = (openFiles(proxy.workerPid()) ?? 0) - idle;
    assert.ok(left <= slack, `${left} descriptors more than at first`);
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'only root sees the descriptors of a worker', deadline: 40_000 },
);
