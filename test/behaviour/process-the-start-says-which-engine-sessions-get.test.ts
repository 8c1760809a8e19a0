// SPDX-License-Identifier: MIT
// One line of the log of each start, and no warning where the kernel has no TLS: `auto` serves there all the same.
import { release } from 'node:os';
import * as assert from 'uvu/assert';
import { native } from '../../src/native.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { freePort, spawnProxy } from '../helpers/proxy.ts';
import { test } from '../helpers/suite.ts';

async function offloadLine(...args: string[]) {
  const flags = ['--listen', `127.0.0.1:${await freePort()}`, '--backend', '127.0.0.1:9', ...args];
  const proxy = spawnProxy(['run', ...flags, '--cert', ecdsa.cert, '--key', ecdsa.key]);
  await proxy.log.waitFor({ event: 'ready' });
  const line = await proxy.log.waitFor({ event: 'offload' });
  await proxy.stop();
  return line;
}

test('auto', async () => {
  const { ulp } = native.probeKernel();
  const { level, kernel, tls12, reason } = await offloadLine();
  assert.is(level, 'info');
  assert.is(kernel, release());
  if (ulp === 'ok') assert.is.not(tls12, 'userspace');
  else assert.equal([tls12, reason], ['userspace', `no kernel TLS: ${ulp}`]);
});

test('userspace, of TLS 1.3 only', async () => {
  const { tls12, tls13, reason } = await offloadLine('--offload', 'userspace', '--min-version', '1.3');
  assert.equal([tls12, tls13, reason], [undefined, 'userspace', 'offload: userspace']);
});
