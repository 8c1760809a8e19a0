// SPDX-License-Identifier: MIT
// Sessions of several engines move side by side: the check, the report, the log and `status` tell each as what it is.
// In the kernel lab on the newest alone: what is told apart is the same with every kernel.
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import { enginesText, upgradeText } from '../../src/commands/upgrade.ts';
import type { Status } from '../../src/master/status.ts';
import { startEcho } from '../helpers/backends.ts';
import { engines } from '../helpers/engines.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { upgradeByCommand } from '../helpers/upgrade.ts';
import { withEngine } from '../helpers/variants.ts';

const echo = await startEcho();
const ours = 3;
const others = 2;

for (const engine of engines) {
  test(`${engine.label}, beside userspace`, async (t) => {
    const listeners = [{ backend: echo.address }, { backend: echo.address, offload: 'userspace' }];
    const proxy = await startProxy(withEngine({ listeners }, engine));
    t.after(() => proxy.stop());
    const [port = 0, other = 0] = proxy.ports;
    const ports = [...Array<number>(ours).fill(port), ...Array<number>(others).fill(other)];
    const clients = await Promise.all(ports.map((each) => RawTlsClient.connect({ port: each, version: '1.2' })));
    const say = async (words: string) => {
      for (const client of clients) {
        client.sendData(words);
        assert.is((await client.readData(words.length)).toString(), words);
      }
    };
    await say('before');
    const expected = { kernel: 0, userspace: 0, kernel_tx: 0, kernel_rx: 0 };
    expected[engine.name.replace('-', '_') as keyof typeof expected] += ours;
    expected.userspace += others;

    assert.equal((await upgradeByCommand(proxy, '--check')).report?.check?.engines, expected);
    const { report, stderr } = await upgradeByCommand(proxy);
    if (report === undefined) throw new Error(stderr);
    assert.equal(report.sessions.engines, expected);
    const { pauses } = report.sessions;
    assert.ok(pauses.p99_us > 0 && pauses.p99_us <= pauses.longest_us, JSON.stringify(pauses));
    const text = upgradeText(report);
    assert.match(text, new RegExp(`^sessions +${ours + others} moved, 0 stay .*, 0 lost$`, 'm'));
    assert.ok(text.includes(enginesText(expected)), text);
    const line = await proxy.log.waitFor({ event: 'upgrade', outcome: 'committed' });
    for (const [name, count] of Object.entries(expected)) assert.is(line[`moved_${name}`], String(count), name);
    const control = join(controlDirectory(), `${proxy.keeperPid}.sock`);
    const status = (await ask(control, { command: 'status' })) as Status;
    assert.equal(status.sessions.engines, expected);
    assert.equal(status.last_upgrade?.sessions, report.sessions);
    await say('after');
    for (const client of clients) client.peer.reset();
  });
}
