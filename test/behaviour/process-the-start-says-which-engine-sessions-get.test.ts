// SPDX-License-Identifier: MIT
// One line of the log of each start for each listener, and no warning where the kernel has no TLS: `auto` serves there all the same.
import { release } from 'node:os';
import * as assert from 'uvu/assert';
import { native } from '../../src/native.ts';
import { startBackend } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { freePort, spawnProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { contentType } from '../helpers/tls-records.ts';

const { ulp: tls, rekey } = native.probeKernel();

async function offloadLine(...args: string[]) {
  const flags = ['--listen', `127.0.0.1:${await freePort()}`, '--backend', '127.0.0.1:9', ...args];
  const proxy = spawnProxy(['run', ...flags, '--cert', ecdsa.cert, '--key', ecdsa.key]);
  await proxy.log.waitFor({ event: 'ready' });
  const line = await proxy.log.waitFor({ event: 'offload' });
  await proxy.stop();
  return line;
}

test('auto', async () => {
  const { level, listener, mode, after, kernel, tls12, reason } = await offloadLine('--name', 'web');
  assert.equal([level, listener, mode, after, kernel], ['info', 'web', 'auto', '0', release()]);
  if (tls === 'ok') assert.is.not(tls12, 'userspace');
  else assert.equal([tls12, reason], ['userspace', `the kernel has no TLS${tls === 'ENOENT' ? '' : `: ${tls}`}`]);
});

test('userspace, of TLS 1.3 only', async () => {
  const { tls12, tls13, reason } = await offloadLine('--offload', 'userspace', '--min-version', '1.3');
  assert.equal([tls12, tls13, reason], [undefined, 'userspace', 'offload is userspace']);
});

test('a line for each listener, with what holds for it', async () => {
  const backend = '127.0.0.1:9';
  const proxy = await startProxy({
    listeners: [
      { name: 'never', backend, offload: 'userspace' },
      { name: 'late', backend, offload_after: '64KiB' },
    ],
  });
  const lines = proxy.log.all({ event: 'offload' });
  await proxy.stop();
  assert.equal(
    lines.map(({ listener, mode, after }) => `${listener} ${mode} ${after}`),
    ['never userspace 0', 'late auto 65536'],
  );
  assert.is(lines[0]?.reason, 'offload is userspace');
});

const names = rekey ? [] : ['one', 'two'];

function kernelWarns(): void {
  test(`kernel, on a kernel ${rekey ? 'with' : 'without'} rekey: warnings for ${names.length} listeners`, async () => {
    const backend = await startBackend();
    const listener = { backend: backend.address, offload: 'kernel' };
    const proxy = await startProxy({
      listeners: [
        { ...listener, name: 'one' },
        { ...listener, name: 'two' },
        { ...listener, name: 'old', tls: { max_version: '1.2' } },
      ],
    });
    const warnings = proxy.log.all({ event: 'config_warning', level: 'warn' });
    const words = "the kernel can't rekey TLS 1.3: a client's KeyUpdate ends its session";
    assert.equal(
      warnings.map(({ listener, error_msg }) => `${listener}: ${error_msg}`),
      names.map((name) => `${name}: ${words}`),
    );
    const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
    const server = await backend.next();
    client.send(contentType.data, Buffer.from('x'));
    await server.read(1);
    client.sendKeyUpdate(0);
    client.peer.finish();
    server.finish();
    const { reason } = await proxy.sessionEnd(client.port);
    assert.is(reason === 'no_rekey', !rekey, reason);
    await proxy.stop();
    const [stopped] = proxy.log.all({ event: 'stopped' });
    assert.equal([stopped?.rekeys_impossible, stopped?.offloads_refused], [rekey ? undefined : '1', undefined]);
  });
}

if (tls === 'ok') kernelWarns();
