// SPDX-License-Identifier: MIT
// Socket activation (sd_listen_fds(3)): the sockets that the service is started with are served, and survive masters and versions as others do.
// Not in the kernel lab: it is about listening sockets, which no record engine has part in.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { native } from '../../src/native.ts';
import { startEcho } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { cliPath, nodePath } from '../helpers/installation.ts';
import { LogLines } from '../helpers/log-lines.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';

const echo = await startEcho();

async function talk(port: number): Promise<void> {
  const client = await RawTlsClient.connect({ port, version: '1.3' });
  client.sendData('hello');
  assert.is((await client.readData(5)).toString(), 'hello');
  client.peer.reset();
}

test('one name with two sockets', async (t) => {
  const fds = ['127.0.0.1:0', '127.0.0.1:0'].map((address) => native.listen({ address, backlog: 16, v6Only: false }));
  const ports = fds.map((fd) => Number(native.localAddress({ fd }).split(':').at(-1)));
  const args = ['run', '--listen', 'systemd:web', '--backend', echo.address, '--cert', ecdsa.cert, '--key', ecdsa.key];
  // LISTEN_PID is the PID of the process that is started, which exec keeps.
  const child = spawn('bash', ['-c', 'LISTEN_PID=$$ exec "$@"', 'bash', nodePath, cliPath, ...args], {
    env: { ...process.env, LISTEN_FDS: '2', LISTEN_FDNAMES: 'web:web' },
    stdio: ['ignore', 'pipe', 'inherit', ...fds],
  });
  t.after(() => child.kill('SIGKILL'));
  for (const fd of fds) native.closeFd({ fd });
  const log = new LogLines();
  child.stdout?.setEncoding('utf8').on('data', (text: string) => log.push(text));

  const ready = await log.waitFor({ event: 'ready' });
  assert.is(ready.addresses, ports.map((port) => `127.0.0.1:${port}`).join(','));
  for (const port of ports) await talk(port);
  const from = log.lines.length;
  process.kill(Number(ready.pid), 'SIGKILL');
  await log.waitFor({ event: 'ready' }, { from });
  for (const port of ports) await talk(port);
  // They go on to the next version, and the variables that told of them do not.
  const again = log.lines.length;
  const before = descendants(child.pid ?? 0);
  child.kill('SIGUSR2');
  await log.waitFor({ event: 'upgrade', outcome: 'committed' }, { from: again });
  const next = await log.waitFor({ event: 'ready' }, { from: again });
  assert.is(next.addresses, ready.addresses);
  for (const port of ports) await talk(port);
  assert.equal(await survivors(before), []);
  const pids = [child.pid ?? 0, ...descendants(child.pid ?? 0)];
  for (const pid of pids) assert.not.match(readFileSync(`/proc/${pid}/environ`, 'latin1'), /LISTEN_/);
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  assert.equal(await exited, [0, null]);
});
