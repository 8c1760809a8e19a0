// SPDX-License-Identifier: MIT
// No payload byte and no handshake meets JavaScript (docs/design.md section 1.3). A module preloaded into the worker blocks its JavaScript thread.
// In the kernel lab on the newest alone: threads are the same with every kernel.
// In the kernel lab never one direction alone: JavaScript has no part in either.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-block-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const script = join(directory, 'block.cjs');
const blockMs = 2000;
// Only the worker is asked; it says when it is blocked and when no more.
writeFileSync(
  script,
  `if (/worker/.test(process.argv[1] ?? '')) {
    process.on('SIGURG', () => {
      require('node:fs').writeSync(2, 'blocked\\n');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${blockMs});
      require('node:fs').writeSync(2, 'free\\n');
    });
  }`,
);

const backend = await startEcho();
const options = { listeners: [{ backend: backend.address }], env: { NODE_OPTIONS: `--require ${script}` } };

for (const { proxy, version, label } of await variants(options, ['1.3'])) {
  test(`${label}: sessions run and new ones come`, async () => {
    const { socket, peer } = await tlsConnect({ port: proxy.port, ...only(version) });
    const said = proxy.stderr().length;
    process.kill(proxy.workerPid(), 'SIGURG');
    while (!proxy.stderr().slice(said).includes('blocked')) await new Promise((resolve) => setTimeout(resolve, 5));
    const times: number[] = [];
    const started = performance.now();
    while (performance.now() - started < blockMs / 2) {
      const sent = performance.now();
      socket.write('ping');
      await peer.read(4);
      times.push(performance.now() - sent);
    }
    const second = await tlsConnect({ port: proxy.port, ...only(version) });
    second.socket.write('new');
    await second.peer.read(3);
    assert.not.match(proxy.stderr().slice(said), 'free');
    times.sort((a, b) => a - b);
    const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
    assert.ok(p99 < 100 * timeFactor, `p99 ${p99.toFixed(1)} ms`);
    socket.destroy();
    second.socket.destroy();
    while (!proxy.stderr().slice(said).includes('free')) await new Promise((resolve) => setTimeout(resolve, 20));
  });
}
