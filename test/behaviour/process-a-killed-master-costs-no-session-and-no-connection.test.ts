// SPDX-License-Identifier: MIT
// The keeper starts a new master, which takes over the running worker, the same listening socket and the configuration as it was taken.
// Not in the kernel lab: a master has no part in a session.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { descendants, doubled, isAlive } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';

const echo = await startEcho();

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

async function killMaster(proxy: RunningProxy): Promise<void> {
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
}

/** The master as soon as there is one: where starting takes long, one that has said something did not die young. */
async function youngMaster(proxy: RunningProxy): Promise<number> {
  for (;;) {
    const pid = descendants(proxy.keeperPid).find((each) => each !== proxy.workerPid());
    if (pid !== undefined) return pid;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Of the socket that listens on the port (proc_net_tcp(5)). */
function listeningInodes(port: number): (string | undefined)[] {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((row) => row.trim().split(/\s+/));
  return rows.filter(([, address, , state]) => address === local && state === '0A').map((row) => row[9]);
}

test('a session and its worker go on, a file that has changed is not read', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
  await say(client, 'before');
  const [master, worker] = [proxy.masterPid(), proxy.workerPid()];
  writeFileSync(join(proxy.directory, 'ironsocket.yaml'), 'nonsense: true');

  process.kill(master, 'SIGKILL');
  await say(client, 'while there is none');
  await say(await RawTlsClient.connect({ port: proxy.port, version: '1.3' }), 'a new one');
  await proxy.log.waitFor({ event: 'worker', worker_state: 'adopted', worker_pid: worker });
  assert.is.not(proxy.masterPid(), master);
  await say(client, 'after');
  assert.ok(isAlive(worker));
  assert.is(proxy.child.exitCode, null);
});

test('the listening socket is the same after several masters', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const before = listeningInodes(proxy.port);
  assert.is(before.length, 1);
  for (let i = 0; i < 3; i++) await killMaster(proxy);
  assert.equal(listeningInodes(proxy.port), before);
});

test('the worker dies under the new master, and both at once', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  await killMaster(proxy);
  let from = proxy.log.lines.length;
  process.kill(proxy.workerPid(), 'SIGKILL');
  assert.is((await proxy.log.waitFor({ worker_state: 'dead' }, { from })).reason, 'SIGKILL');
  await proxy.log.waitFor({ worker_state: 'spawned' }, { from });
  await say(await RawTlsClient.connect({ port: proxy.port, version: '1.3' }), 'served by the next');

  from = proxy.log.lines.length;
  process.kill(proxy.workerPid(), 'SIGKILL');
  process.kill(proxy.masterPid(), 'SIGKILL');
  await say(await RawTlsClient.connect({ port: proxy.port, version: '1.3' }), 'and by that after it');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  // Who has died is there until the keeper looks.
  while (descendants(proxy.keeperPid).length !== 2) await new Promise((resolve) => setTimeout(resolve, 10));
});

test('masters that die young are started with growing pauses', async (t) => {
  const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
  t.after(() => proxy.stop());
  const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
  const delays: number[] = [];
  // On a machine that stands still now and then one gets old before it is found, and all begins anew.
  while (!doubled(delays, 400)) {
    const from = proxy.log.lines.length;
    process.kill(await youngMaster(proxy), 'SIGKILL');
    delays.push(Number((await proxy.log.waitFor({ process_type: 'keeper' }, { from })).delay_ms));
    assert.ok(delays.length < 12, `delays ${delays}`);
  }
  await say(client, 'still here');
  await proxy.log.waitFor({ event: 'ready' }, { from: proxy.log.lines.length - 5 });
});
