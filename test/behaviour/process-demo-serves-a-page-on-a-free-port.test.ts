// SPDX-License-Identifier: MIT
// `ironsocket run --demo` needs nothing: it makes its certificate, finds a port, and says what to type. What it serves
// outlives its masters.
// Not in the kernel lab: it is about processes, and its sessions are the common ones.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { type RunningProxy, spawnProxy } from '../helpers/proxy.ts';
import { test } from '../helpers/suite.ts';
import { upgradeBySignal } from '../helpers/upgrade.ts';

const root = process.geteuid?.() === 0;
const user = root ? ['--user', 'nobody', '--group', 'nogroup'] : [];

/** What the printed command gets, as latin1. */
async function page(proxy: RunningProxy, path = '', ...more: string[]): Promise<string> {
  // stderr may come after the log.
  let url: string | undefined;
  while (url === undefined) {
    url = /curl -k (https:\/\/localhost:\d+\/)/.exec(proxy.stderr())?.[1];
    if (url === undefined) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const args = ['-sSk', ...more, `${url}${path}`];
  const { stdout } = await promisify(execFile)('curl', args, { encoding: 'latin1', maxBuffer: 2 ** 25 });
  return stdout;
}

test('two at a time, each with its own port and page', async (t) => {
  const proxies = [spawnProxy(['run', '--demo', ...user])];
  await proxies[0]?.log.waitFor({ event: 'ready' });
  proxies.push(spawnProxy(['run', '--demo', ...user]));
  for (const proxy of proxies) t.after(() => proxy.stop());
  const ports = await Promise.all(proxies.map(async ({ log }) => (await log.waitFor({ event: 'ready' })).addresses));
  assert.is.not(ports[0], ports[1]);
  for (const proxy of proxies) {
    assert.match(await page(proxy), /TLS version {5}TLSv1.3\ncipher suite {4}TLS_/);
    assert.match(await page(proxy, '', '--tls-max', '1.2'), /TLS version {5}TLSv1.2\n/);
    assert.match(await page(proxy), /client {10}127\.0\.0\.1:\d+\n[\s\S]*record engine {3}(userspace|kernel)/);
  }
});

test('the page is there again after its master died, and its directory is gone at the end', async () => {
  const proxy = spawnProxy(['run', '--demo', ...user]);
  await proxy.log.waitFor({ event: 'ready' });
  const before = await page(proxy);
  const from = proxy.log.lines.length;
  process.kill(proxy.masterPid(), 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  const after = await page(proxy);
  assert.is(after.replace(/:\d+\n/g, ''), before.replace(/:\d+\n/g, ''));
  const line = await proxy.log.waitFor({ event: 'proxy', subevent: 'client_disconnect', reason: 'closed' });
  const path = line.server_ip?.replace('unix:', '') ?? '';
  assert.ok(existsSync(path));
  await proxy.stop();
  assert.not.ok(existsSync(path));
});

test('a download goes on over upgrades, and is whole', async (t) => {
  const proxy = spawnProxy(['run', '--demo', ...user]);
  t.after(() => proxy.stop());
  await proxy.log.waitFor({ event: 'ready' });
  const download = page(proxy, 'bytes/8M', '--limit-rate', '4M');
  const hash = await page(proxy, 'bytes/8M/sha256');
  for (let round = 0; round < 2; round++) await upgradeBySignal(proxy);
  assert.is(
    createHash('sha256')
      .update(await download, 'latin1')
      .digest('hex'),
    hash.trim(),
  );
});
