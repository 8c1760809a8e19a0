// SPDX-License-Identifier: MIT
// An upgrade is stopped at the end of each phase, and then one of the processes dies, or time runs out: the old version serves on, with
// its session, and the next upgrade works.
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { descendants, survivors } from '../helpers/processes.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { upgradeByCommand, upgradeBySignal } from '../helpers/upgrade.ts';

const echo = await startEcho();
const proxy = await startProxy({ listeners: [{ backend: echo.address }], env: { IRONSOCKET_TEST_PAUSES: '1' } });
afterAll(() => proxy.stop());

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

const connect = () => RawTlsClient.connect({ port: proxy.port, version: '1.3' });

/** Pids of the masters and workers by their latest lines. */
function processes() {
  const spawned = proxy.log.all({ event: 'worker', worker_state: 'spawned' });
  const startups = proxy.log.all({ event: 'startup' });
  const last = (lines: typeof spawned, key: string, back = 0) => Number(lines.at(-1 - back)?.[key]);
  return {
    master: last(startups, 'pid', 1),
    candidate: last(startups, 'pid'),
    worker: last(spawned, 'worker_pid', 1),
    newWorker: last(spawned, 'worker_pid'),
  };
}

for (const phase of ['spawning', 'switching'] as const) {
  for (const victim of ['candidate', 'newWorker', 'master', 'worker', 'nobody'] as const) {
    test(`${phase}: ${victim} dies`, async () => {
      const client = await connect();
      await say(client, 'before');
      const from = proxy.log.lines.length;
      const upgrade = upgradeByCommand(proxy, '--pause-at', phase, '--timeout', '3s');
      await proxy.log.waitFor({ event: 'upgrade', phase, paused: 'true' }, { from });
      const all = processes();
      // While no worker is at the listeners it waits in the queue.
      const visitor = connect();
      if (victim !== 'nobody') process.kill(all[victim], 'SIGKILL');
      if (victim === 'master') await proxy.log.waitFor({ event: 'ready' }, { from });
      const { code } = await upgrade;
      assert.is(code, victim === 'master' ? 71 : 75);
      await say(await visitor, 'a new one');
      if (victim !== 'worker') await say(client, 'the same session');
      assert.equal(await survivors([all.candidate, all.newWorker]), []);
      await upgradeBySignal(proxy);
      const last = await connect();
      await say(last, 'after the next upgrade');
      for (const each of [client, await visitor, last]) each.peer.reset();
      await proxy.log.waitFor({ event: 'left' }, { from });
      while (descendants(proxy.keeperPid).length !== 2) await new Promise((resolve) => setTimeout(resolve, 10));
    });
  }
}
