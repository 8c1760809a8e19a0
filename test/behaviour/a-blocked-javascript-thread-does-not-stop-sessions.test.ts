// SPDX-License-Identifier: MIT
// No payload byte and no handshake meets JavaScript (docs/design.md section 1.3). A module preloaded into the worker blocks its JavaScript thread.
// In the kernel lab on the newest alone: threads are the same with every kernel.
// In the kernel lab never one direction alone: JavaScript has no part in either.

import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { only, tlsConnect } from '../helpers/tls-client.ts';
import { variants } from '../helpers/variants.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-block-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
// The worker may be another user than the test.
chmodSync(directory, 0o755);
const script = join(directory, 'block.cjs');
/** What blocks it is the reading of a pipe, until something is written there. */
const gate = join(directory, 'gate');
execFileSync('mkfifo', ['-m', '666', gate]);
// Only the worker is asked; it says when it is blocked and when no more.
writeFileSync(
  script,
  `if (/worker/.test(process.argv[1] ?? '')) {
    const fs = require('node:fs');
    process.on('SIGURG', () => {
      const gate = fs.openSync(${JSON.stringify(gate)}, 'r+');
      fs.writeSync(2, 'blocked\\n');
      fs.readSync(gate, Buffer.alloc(1));
      fs.closeSync(gate);
      fs.writeSync(2, 'free\\n');
    });
  }`,
);

const backend = await startEcho();
const options = { listeners: [{ backend: backend.address }], env: { NODE_OPTIONS: `--require ${script}` } };

for (const { proxy, version, label } of await variants(options, ['1.3'])) {
  test(`${label}: sessions run and new ones come`, async (t) => {
    const { socket, peer } = await tlsConnect({ port: proxy.port, ...only(version) });
    const said = proxy.stderr().length;
    const says = async (word: string): Promise<void> => {
      while (!proxy.stderr().slice(said).includes(word)) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    process.kill(proxy.workerPid(), 'SIGURG');
    await says('blocked');
    const opened = openSync(gate, 'r+');
    const open = (): number => writeSync(opened, 'x');
    t.after(() => {
      open();
      closeSync(opened);
    });
    // If they waited for JavaScript, they would wait for ever.
    for (let i = 0; i < 200; i++) {
      socket.write('ping');
      await peer.read(4);
    }
    const second = await tlsConnect({ port: proxy.port, ...only(version) });
    second.socket.write('new');
    await second.peer.read(3);
    assert.not.match(proxy.stderr().slice(said), 'free');
    open();
    await says('free');
    socket.destroy();
    second.socket.destroy();
  });
}
