// SPDX-License-Identifier: MIT
// HUP, USR1, USR2, then TERM or INT, while an upgrade stands still in each of its phases: a reload or a second upgrade is refused or
// done, and said; the log is opened again by everybody; the service ends in order.
// Not in the kernel lab: it is about processes.
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { descendants } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { otherVersion, upgradeByCommand } from '../helpers/upgrade.ts';

const echo = await startEcho();

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

const read = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '');
const countOf = (pattern: RegExp, text: string) => text.match(new RegExp(pattern, 'g'))?.length ?? 0;

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000 * timeFactor; !condition(); ) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A service that logs to a file. */
async function start(t: TestContext, drain = '300ms') {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'proxy.log');
  const proxy = await startProxy({
    listeners: [{ backend: echo.address }],
    config: { log: { file }, timeouts: { drain } },
    env: { IRONSOCKET_TEST_PAUSES: '1' },
    log: false,
  });
  const says = (pattern: RegExp, count = 1, from = 0) =>
    until(`${count} times ${pattern} in\n${read(file)}`, () => countOf(pattern, read(file).slice(from)) >= count);
  await says(/event=ready/);
  return { proxy, file, says };
}

/** Each at its end, but for the handoff: there a batch of sessions lies between the workers. */
const phases = ['preflight', 'spawning', 'switching', 'unanswered'] as const;

/** Moves the log away; all masters and workers go on in a new file. */
async function rotate({ proxy, file, says }: Awaited<ReturnType<typeof start>>, masters: number): Promise<void> {
  renameSync(file, `${file}.1`);
  process.kill(proxy.keeperPid, 'SIGUSR1');
  await says(/event=log_reopened/, masters);
}

async function visit({ port }: RunningProxy): Promise<void> {
  const visitor = await RawTlsClient.connect({ port, version: '1.3' });
  await say(visitor, 'a visit');
  visitor.peer.finish();
  await visitor.outcome();
}

for (const phase of phases) {
  for (const end of phase === 'spawning' || phase === 'unanswered'
    ? (['SIGTERM', 'SIGINT'] as const)
    : (['SIGTERM'] as const)) {
    test(
      `${phase}: ${end === 'SIGTERM' ? 'HUP, USR1, USR2, TERM' : 'INT'}`,
      async (t) => {
        const service = await start(t);
        const { proxy, file, says } = service;
        const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
        await say(client, 'before');
        const upgrade = upgradeByCommand(proxy, '--pause-at', phase);
        await says(/event=upgrade .*paused=true/);
        if (end === 'SIGTERM') {
          process.kill(proxy.keeperPid, 'SIGHUP');
          const handing = phase === 'unanswered';
          await says(
            handing ? /event=reload .*outcome=unchanged/ : /event=reload .*outcome=refused .*upgrade is under way/,
          );
          await rotate(service, phase === 'preflight' ? 1 : 2);
          process.kill(proxy.keeperPid, 'SIGUSR2');
          await says(handing ? /outcome=committed/ : /event=upgrade .*outcome=refused .*another upgrade is under way/);
          if (handing) {
            await visit(proxy);
            await says(/process_type=worker .*client_disconnect/);
            await say(client, 'the same session');
          }
          assert.not.match(read(`${file}.1`), /log_reopened/);
        }
        proxy.child.kill(end);
        // It throws where somebody hangs.
        await proxy.stop();
        assert.is.not((await upgrade).code, undefined);
        client.peer.reset();
      },
      { deadline: 40_000 },
    );
  }
}

test('TERM while the preflight hangs', async (t) => {
  const { proxy, says } = await start(t);
  const copy = otherVersion('9.9.9', (directory) => {
    writeFileSync(join(directory, 'dist/upgrade/preflight-main.js'), 'setInterval(() => {}, 1000)');
  });
  t.after(copy.remove);
  const upgrade = upgradeByCommand(proxy, '--to', copy.directory);
  await until('a preflight', () => descendants(proxy.keeperPid).length === 3);
  await proxy.stop();
  assert.is.not((await upgrade).code, 0);
  await says(/event=stopped/);
});

test('TERM, then the upgrade fails: the worker that ends is not asked to accept again', async (t) => {
  const { proxy, file, says } = await start(t, '1m');
  const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
  await say(client, 'before');
  const upgrade = upgradeByCommand(proxy, '--pause-at', 'switching', '--timeout', '8s');
  await says(/phase=switching paused=true/);
  proxy.child.kill('SIGTERM');
  assert.is.not((await upgrade).code, 0);
  await says(/phase=switching outcome=failed/);
  await say(client, 'after');
  client.peer.finish();
  await proxy.stop();
  assert.not.match(read(file), /the worker does not accept/);
});
