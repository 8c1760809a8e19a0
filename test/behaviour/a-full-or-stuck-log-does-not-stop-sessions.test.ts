// SPDX-License-Identifier: MIT
// Lines that can't be written are dropped and counted; no thread that moves bytes ever waits for the log.
// Not in the kernel lab: it is about the log, and its sessions are thousands.

import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { tlsConnect } from '../helpers/tls-client.ts';

const backend = await startEcho();
const listeners = [{ backend: backend.address }];

/** Sessions, each with several lines at level debug; the longest time one took. */
async function sessions(proxy: RunningProxy, count: number): Promise<number> {
  let longest = 0;
  for (let i = 0; i < count; i += 10) {
    const ten = Array.from({ length: 10 }, async () => {
      const started = performance.now();
      const { socket, peer } = await tlsConnect({ port: proxy.port });
      socket.write('ping');
      assert.is((await peer.read(4)).toString(), 'ping');
      socket.destroy();
      longest = Math.max(longest, performance.now() - started);
    });
    await Promise.all(ten);
  }
  return longest;
}

test('/dev/full', async () => {
  const proxy = await startProxy({ listeners, log: false, config: { log: { level: 'debug', file: '/dev/full' } } });
  assert.ok((await sessions(proxy, 200)) < 1000 * timeFactor);
  await proxy.stop();
});

test(
  'a pipe that nobody reads, until somebody does',
  async () => {
    const proxy = await startProxy({ listeners });
    proxy.child.stdout?.pause();
    assert.ok((await sessions(proxy, 3000)) < 1000 * timeFactor);
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

test('a stuck pipe does not hold up the end', async () => {
  const proxy = await startProxy({ listeners });
  proxy.child.stdout?.pause();
  await sessions(proxy, 1000);
  const started = performance.now();
  proxy.child.kill('SIGTERM');
  const exited = new Promise((resolve) => proxy.child.on('exit', resolve));
  assert.is(await exited, 0);
  assert.ok(performance.now() - started < 4000 * timeFactor);
  proxy.child.stdout?.destroy();
});
