// SPDX-License-Identifier: MIT
// `upgrade --check`: the other version tries to read every session, and nothing changes; what it can't read is named, and an upgrade to it
// is refused.
// In the kernel lab on the newest alone: frames are the same with every kernel.
// In the kernel lab never one direction alone: native tests have the frames of every combination.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { controlDirectory } from '../../src/admin/places.ts';
import { startEcho } from '../helpers/backends.ts';
import { ironsocket } from '../helpers/commands.ts';
import { descendants, filesAgain, settledFiles } from '../helpers/processes.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { otherVersion, upgradeByCommand } from '../helpers/upgrade.ts';
import { variants } from '../helpers/variants.ts';

const echo = await startEcho();
const deaf = otherVersion('99.0.0', spoilReader);
afterAll(deaf.remove);

async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  assert.is((await client.readData(words.length)).toString(), words);
}

/** Its reader of frames looks for another first word. */
function spoilReader(directory: string): void {
  const file = join(directory, 'build/Release/ironsocket.node');
  const addon = readFileSync(file);
  let found = 0;
  for (let at = addon.indexOf('ISHF'); at >= 0; at = addon.indexOf('ISHF', at + 4), found++) addon.write('ISHX', at);
  assert.ok(found > 0, 'the first word of a frame is in the addon');
  writeFileSync(file, addon);
}

const all = await variants({ listeners: [{ backend: echo.address }] });
for (const { proxy, version, label, engine } of all) {
  const count = 30;
  const open = async () => {
    const clients = await Promise.all(
      Array.from({ length: count }, () => RawTlsClient.connect({ port: proxy.port, version })),
    );
    for (const client of clients) await say(client, 'before');
    return clients;
  };

  test(`${label}: all are counted by engine, and stay where they are`, async () => {
    const clients = await open();
    const processes = () => [proxy.keeperPid, ...descendants(proxy.keeperPid)];
    await upgradeByCommand(proxy, '--check');
    const [pids, files] = [processes(), await settledFiles(processes)];
    const { code, report } = await upgradeByCommand(proxy, '--check');
    assert.is(code, 0);
    const none = { kernel: 0, userspace: 0, kernel_tx: 0, kernel_rx: 0 };
    const name = engine.name.replace('-', '_') as keyof typeof none;
    assert.equal(report?.check?.engines, { ...none, [name]: count });
    assert.equal([report?.check?.move, report?.check?.refused, report?.check?.unseen], [count, 0, 0]);
    assert.equal(processes(), pids);
    await filesAgain(processes, files);
    for (const client of clients) await say(client, 'after');
    for (const client of clients) client.peer.reset();
  });

  test(`${label}: a version that can't read them names them and is refused`, async () => {
    const clients = await open();
    const [first] = proxy.log.all({ event: 'auth', outcome: 'granted' }).slice(-count);
    const control = join(controlDirectory(), `${proxy.keeperPid}.sock`);
    const said = await ironsocket('upgrade', '--control', control, '--check', '--to', deaf.directory);
    assert.is(said.code, 75, said.stderr);
    assert.match(said.stdout, new RegExp(`^99\\.0\\.0 in ${deaf.directory} could not take over from `, 'm'));
    assert.match(said.stdout, new RegExp(`^refused +${count} can't be read by 99\\.0\\.0$`, 'm'));
    assert.is(said.stdout.match(/^ {2}refused +connection \d+-\d+: bad value$/gm)?.length, 20);
    assert.match(String(first?.connection_id), /^\d+-\d+$/);
    const { code, stderr } = await upgradeByCommand(proxy, '--to', deaf.directory);
    assert.is(code, 75);
    assert.match(
      stderr,
      new RegExp(`version 99\\.0\\.0 can't read ${count} of ${count} sessions, connection \\d+-\\d+`),
    );
    for (const client of clients) await say(client, 'after');
    for (const client of clients) client.peer.reset();
  });
}

for (const { proxy, version } of all.slice(0, 1)) {
  test('a worker that does not write them down in time is told, and refuses nothing', async () => {
    const client = await RawTlsClient.connect({ port: proxy.port, version });
    // It is a session, and not only to the client.
    await say(client, 'before');
    const worker = proxy.workerPid();
    process.kill(worker, 'SIGSTOP');
    const late = await upgradeByCommand(proxy, '--check').finally(() => process.kill(worker, 'SIGCONT'));
    assert.is(late.code, 0, late.stderr);
    const unseen = late.report?.check?.unseen ?? 0;
    // Those of the tests before may still be about to end.
    assert.ok(late.report?.check?.move === 0 && unseen >= 1, `${unseen} unseen`);
    // What it writes after that is nobody's.
    const { report } = await upgradeByCommand(proxy, '--check');
    assert.ok((report?.check?.move ?? 0) >= 1);
    assert.is(report?.check?.unseen, 0);
    client.peer.reset();
  });
}
