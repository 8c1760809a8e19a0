// SPDX-License-Identifier: MIT
// The sessions of the old worker go to the new one: same connections, same keys, every byte, for each engine and version.
import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';
import { upgradeBySignal } from '../helpers/upgrade.ts';
import { variants } from '../helpers/variants.ts';

const echo = await startEcho();
const listeners = [{ backend: echo.address }];
const rounds = 3;

for (const variant of await variants({ listeners })) {
  const { proxy, version, label } = variant;

  const say = async (client: RawTlsClient, words: string): Promise<void> => {
    client.sendData(words);
    assert.is((await client.readData(words.length)).toString(), words);
  };

  test(
    `${label}: idle sessions move and carry on`,
    async () => {
      const clients = await Promise.all(
        Array.from({ length: 20 }, () => RawTlsClient.connect({ port: proxy.port, version })),
      );
      for (const client of clients) await say(client, 'before');
      for (let round = 0; round < rounds; round++) {
        const from = proxy.log.lines.length;
        await upgradeBySignal(proxy);
        const end = await proxy.log.waitFor({ event: 'upgrade', outcome: 'committed' }, { from });
        assert.is(Number(end.sessions_moved) >= clients.length, true, JSON.stringify(end));
        assert.is(end.sessions_kept, '0');
        assert.is(end.sessions_lost, '0');
        for (const client of clients) await say(client, `after ${round}`);
      }
      for (const client of clients) {
        client.sendAlert(alert.closeNotify);
        client.peer.finish();
        assert.is((await proxy.sessionEnd(client.port)).reason, 'closed');
      }
    },
    { deadline: 60_000 },
  );

  test(
    `${label}: streams through the echo keep every byte over upgrades`,
    async () => {
      const client = await RawTlsClient.connect({ port: proxy.port, version });
      const sent = createHash('sha256');
      const came = createHash('sha256');
      let done = false;
      let bytes = 0;
      const chunk = Buffer.alloc(16_000);
      const stream = (async () => {
        while (!done) {
          chunk.writeUInt32BE(bytes, 0);
          sent.update(chunk);
          client.sendData(chunk);
          came.update(await client.readData(chunk.length));
          bytes += chunk.length;
        }
      })();
      for (let round = 0; round < rounds; round++) await upgradeBySignal(proxy);
      done = true;
      await stream;
      assert.ok(bytes > 0);
      assert.is(came.digest('hex'), sent.digest('hex'));
      client.peer.reset();
    },
    { deadline: 60_000 },
  );
}
