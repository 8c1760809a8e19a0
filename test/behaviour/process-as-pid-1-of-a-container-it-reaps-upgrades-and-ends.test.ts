// SPDX-License-Identifier: MIT
// As a container has it: the keeper is process 1 of a PID namespace. The kernel then delivers no signal that it does not wait for, and
// makes it the parent of every orphan.
// Not in the kernel lab: processes and signals alone are in it.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import type { Status } from '../../src/master/status.ts';
import { startEcho } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { ironsocket } from '../helpers/commands.ts';
import { cliPath, nodePath } from '../helpers/installation.ts';
import { LogLines } from '../helpers/log-lines.ts';
import { descendants, isAlive, survivors } from '../helpers/processes.ts';
import { freePort } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { ServiceManager } from '../helpers/service-manager.ts';
import { test } from '../helpers/suite.ts';

const echo = await startEcho();

test(
  'start, a reaped orphan, three upgrades, and TERM',
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
    t.after(() => rmSync(directory, { recursive: true, force: true }));
    const manager = await ServiceManager.start();
    t.after(() => manager.stop());
    const port = await freePort();
    const control = join(directory, 'control.sock');
    const args = ['run', '--listen', `127.0.0.1:${port}`, '--backend', echo.address, '--control', control];
    const command = [nodePath, cliPath, ...args, '--cert', ecdsa.cert, '--key', ecdsa.key];
    const unshare = ['--pid', '--mount-proc', '--fork', '--kill-child', ...command];
    const child = spawn('unshare', unshare, {
      env: { ...process.env, NOTIFY_SOCKET: manager.address },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    const log = new LogLines();
    child.stdout?.setEncoding('utf8').on('data', (text: string) => log.push(text));
    await log.waitFor({ event: 'ready' });
    const [keeper = 0] = descendants(child.pid ?? 0);
    // Out here its number is another one, so it does not tell the one that it knows.
    const ready = await manager.hears('READY');
    assert.equal([ready.pid, ready.MAINPID], [keeper, undefined]);

    const client = await RawTlsClient.connect({ port, version: '1.3' });
    const say = async (words: string) => {
      client.sendData(words);
      assert.is((await client.readData(words.length)).toString(), words);
    };
    // Its parent ends at once.
    const orphan = ['--target', String(keeper), '--pid', 'sh', '-c', 'sleep 1000 &'];
    execFileSync('nsenter', orphan, { stdio: 'ignore' });
    const sleeping = () => descendants(keeper).filter((pid) => nameOf(pid) === 'sleep');
    // It is still the shell until it gets to run.
    while (sleeping().length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    const adopted = sleeping();
    assert.is(adopted.length, 1);
    process.kill(adopted[0] ?? 0, 'SIGKILL');
    while (existsSync(`/proc/${adopted[0]}`)) await new Promise((resolve) => setTimeout(resolve, 10));

    for (const generation of [2, 3, 4]) {
      const { code, stderr } = await ironsocket('upgrade', '--control', control);
      assert.is(code, 0, stderr);
      const { stdout } = await ironsocket('status', '--control', control, '--json');
      const status = JSON.parse(stdout) as Status;
      assert.equal([status.generation, status.pid], [generation, 1]);
      assert.ok(isAlive(keeper));
      await say(`generation ${generation}`);
    }
    client.peer.reset();
    const pids = descendants(keeper);
    const exited = once(child, 'exit');
    process.kill(keeper, 'SIGTERM');
    assert.equal(await exited, [0, null]);
    assert.equal(await survivors(pids), []);
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'a PID namespace needs root', deadline: 40_000 },
);

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
  } catch {
    return '';
  }
}
