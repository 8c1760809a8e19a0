// SPDX-License-Identifier: MIT
// Lines that can't be written are dropped and counted; no thread that moves bytes ever waits for the log.
// Not in the kernel lab: it is about the log, and its sessions are thousands.

import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import type { Status } from '../../src/master/status.ts';
import { startEcho } from '../helpers/backends.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { test } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';

const backend = await startEcho();
const listeners = [{ backend: backend.address }];

/** Sessions, each with several lines at level debug. One that waited for the log would wait for ever. */
async function sessions(proxy: RunningProxy, count: number): Promise<void> {
  for (let i = 0; i < count; i += 10) {
    const ten = Array.from({ length: 10 }, async () => {
      const { socket, peer } = await tlsConnect({ port: proxy.port });
      socket.write('ping');
      assert.is((await peer.read(4)).toString(), 'ping');
      socket.destroy();
    });
    await Promise.all(ten);
  }
}

/** Sessions until a log that nobody reads has no room, which depends on the kernel's buffers as well, and some more. */
async function overflow(proxy: RunningProxy): Promise<void> {
  const socket = join(controlDirectory(), `${proxy.keeperPid}.sock`);
  const dropped = async (): Promise<number> => {
    const { counters } = (await ask(socket, { command: 'status' })) as Status;
    return counters.log_lines_dropped ?? 0;
  };
  while ((await dropped()) === 0) await sessions(proxy, 100);
  await sessions(proxy, 200);
}

test('/dev/full', async () => {
  const proxy = await startProxy({ listeners, log: false, config: { log: { level: 'debug', file: '/dev/full' } } });
  await sessions(proxy, 200);
  await proxy.stop();
});

test(
  'a pipe that nobody reads, until somebody does',
  async () => {
    const proxy = await startProxy({ listeners });
    proxy.child.stdout?.pause();
    await overflow(proxy);
    proxy.child.stdout?.resume();
    const line = await proxy.log.waitFor({ event: 'log_dropped' });
    assert.ok(Number(line.count) > 0);
    const from = proxy.log.lines.length;
    await sessions(proxy, 10);
    await proxy.log.waitFor({ event: 'auth', outcome: 'granted' }, { from });
    assert.equal(proxy.log.strange, [], 'every line is whole');
    await proxy.stop();
  },
  { deadline: 60_000 },
);

test(
  'a stuck pipe does not hold up the end',
  async () => {
    const proxy = await startProxy({ listeners });
    proxy.child.stdout?.pause();
    await overflow(proxy);
    proxy.child.kill('SIGTERM');
    const exited = new Promise((resolve) => proxy.child.on('exit', resolve));
    assert.is(await exited, 0);
    proxy.child.stdout?.destroy();
  },
  { deadline: 60_000 },
);
