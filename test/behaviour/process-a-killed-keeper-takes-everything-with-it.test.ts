// SPDX-License-Identifier: MIT
// Without its keeper nothing of a service may go on: nobody could stop it, and its ports would be taken when it is started again.
// Not in the kernel lab: processes end there as they do here.
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';

const echo = await startEcho();

test('master and worker end, sessions are reset', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => rmSync(proxy.directory, { recursive: true }));
  const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
  const pids = descendants(proxy.keeperPid);
  assert.is(pids.length, 2);
  const exited = once(proxy.child, 'exit');
  const ended = once(proxy.child.stderr as NodeJS.ReadableStream, 'close');
  process.kill(proxy.keeperPid, 'SIGKILL');
  await exited;
  assert.is((await client.outcome()).end, 'reset');
  // Both hold stderr, so its end is theirs.
  await ended;
  assert.equal(await survivors(pids), []);
});

test('a worker that was taken over ends, too', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => rmSync(proxy.directory, { recursive: true }));
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  const pids = descendants(proxy.keeperPid);
  const ended = once(proxy.child.stderr as NodeJS.ReadableStream, 'close');
  process.kill(proxy.keeperPid, 'SIGKILL');
  await ended;
  assert.equal(await survivors(pids), []);
});
