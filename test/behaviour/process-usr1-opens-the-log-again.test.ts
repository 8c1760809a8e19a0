// SPDX-License-Identifier: MIT
// Log rotation: the file is moved away, USR1, and every process writes into the new one.
// Not in the kernel lab: it is about the log's file.
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { parseLogfmt } from '../helpers/log-lines.ts';
import { descendants, filesAgain, settledFiles } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';

const echo = await startEcho();

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function served({ port }: RunningProxy): Promise<void> {
  const client = await RawTlsClient.connect({ port, version: '1.3' });
  client.sendData('hello');
  await client.readData(5);
  client.peer.finish();
  await client.outcome();
}

const read = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

test('keeper, master and worker write into the new file', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'proxy.log');
  const old = `${file}.1`;
  const proxy = await startProxy({ listeners: [{ backend: echo.address }], config: { log: { file } }, log: false });
  t.after(() => proxy.stop());
  await until(() => /event=ready/.test(read(file)));
  const files = await settledFiles(() => [proxy.keeperPid]);

  renameSync(file, old);
  process.kill(proxy.keeperPid, 'SIGUSR1');
  await until(() => /event=log_reopened/.test(read(file)));
  await served(proxy);
  await until(() => /process_type=worker .*client_disconnect/.test(read(file)));
  const [master = 0] = descendants(proxy.keeperPid);
  process.kill(master, 'SIGKILL');
  await until(() => /process_type=keeper/.test(read(file)) && /event=ready/.test(read(file)));
  await filesAgain(() => [proxy.keeperPid], files);

  for (const line of [read(old), read(file)].join('').trimEnd().split('\n')) parseLogfmt(line);
  assert.not.match(read(old), /log_reopened|process_type=keeper/);
});
