// SPDX-License-Identifier: MIT
// What keeps a service from starting is told in one sentence, by the exit code (sysexits.h), and leaves nothing behind.
// Not in the kernel lab: no service gets as far as its first client.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import * as assert from 'uvu/assert';
import { ecdsa, strangeKey } from '../helpers/certificates.ts';
import { cliPath, nodePath } from '../helpers/installation.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { freePort, spawnProxy } from '../helpers/proxy.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
afterAll(() => rmSync(directory, { recursive: true }));
const root = process.geteuid?.() === 0;

interface Failure {
  readonly code: number | null;
  readonly stderr: string;
}

async function run(args: readonly string[], prefix: readonly string[] = []): Promise<Failure> {
  const [command = '', ...rest] = [...prefix, nodePath, cliPath, 'run', ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, NO_COLOR: '1' } });
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  return { code, stderr };
}

const flags = (port: number, key = ecdsa.key) => [
  ...['--listen', `127.0.0.1:${port}`, '--backend', '127.0.0.1:9', '--cert', ecdsa.cert, '--key', key],
];

test('a port in use', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const { code, stderr } = await run(flags(port));
  assert.is(code, 78);
  assert.match(stderr, new RegExp(`127.0.0.1:${port} is in use by `));
  assert.not.match(stderr, /\n\s+at /);
  server.close();
});

test('a key that belongs to another certificate', async () => {
  const { code, stderr } = await run(flags(await freePort(), strangeKey));
  assert.is(code, 78);
  assert.match(stderr, /key/);
});

test('a user that does not exist', async () => {
  const { code, stderr } = await run([...flags(await freePort()), '--user', 'nobody-of-this-name']);
  assert.is(code, 78);
  assert.match(stderr, /nobody-of-this-name/);
});

test(
  'a port that another ironsocket has',
  async () => {
    const port = await freePort();
    const first = spawnProxy(['run', ...flags(port)]);
    await first.log.waitFor({ event: 'ready' });
    const { code, stderr } = await run(flags(port));
    assert.is(code, 78);
    assert.match(stderr, new RegExp(`127.0.0.1:${port} is in use by ironsocket itself`));
    assert.match(stderr, /help: stop that one first/);
    await first.stop();
  },
  { skip: root ? undefined : 'only root sees whose port it is' },
);

test('a worker that crashes during its start', async () => {
  // NODE_OPTIONS reach the master as well, so the file lets everything but the worker pass.
  const file = join(directory, 'crash.cjs');
  writeFileSync(file, `if (process.argv[1]?.endsWith('worker/main.js')) process.exit(3);`);
  chmodSync(directory, 0o755);
  const { code, stderr } = await run(flags(await freePort()), ['env', `NODE_OPTIONS=--require=${file}`]);
  assert.is(code, 71);
  assert.match(stderr, /the worker did not start: exit \(code 3\)/);
});

test('a master that crashes during its start', async () => {
  const file = join(directory, 'crash-master.cjs');
  writeFileSync(file, `if (process.argv[1]?.endsWith('master/main.js')) process.kill(process.pid, 'SIGKILL');`);
  const { code } = await run(flags(await freePort()), ['env', `NODE_OPTIONS=--require=${file}`]);
  assert.is(code, 70);
});

test('TERM during the start', async () => {
  const file = join(directory, 'hang.cjs');
  const wait = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)';
  writeFileSync(file, `if (process.argv[1]?.endsWith('worker/main.js')) ${wait};`);
  const proxy = spawnProxy(['run', ...flags(await freePort())], { env: { NODE_OPTIONS: `--require=${file}` } });
  await proxy.log.waitFor({ event: 'worker', worker_state: 'spawned' });
  const pids = descendants(proxy.keeperPid);
  const exited = once(proxy.child, 'exit');
  process.kill(proxy.keeperPid, 'SIGTERM');
  assert.equal(await exited, [0, null]);
  assert.equal(await survivors(pids), []);
});
