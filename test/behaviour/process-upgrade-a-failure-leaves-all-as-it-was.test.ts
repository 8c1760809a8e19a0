// SPDX-License-Identifier: MIT
// Whatever is wrong with the other version, the one that runs serves on: same master, same worker, same sessions, nothing left behind;
// the command says why and exits with 75, and the next upgrade works.
// Not in the kernel lab: what fails does so before the record engine has any part in it.
import { chmodSync, chownSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { controlDirectory } from '../../src/admin/places.ts';
import { startEcho } from '../helpers/backends.ts';
import { ironsocketAs } from '../helpers/commands.ts';
import { root } from '../helpers/installation.ts';
import { descendants, filesAgain, isAlive, settledFiles, survivors } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, type TestContext, test as testWith } from '../helpers/suite.ts';
import { otherVersion, upgradeByCommand, upgradeBySignal, upgradePaused } from '../helpers/upgrade.ts';

/** Several upgrades each. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const echo = await startEcho();
const proxy = await startProxy({ listeners: [{ backend: echo.address }] });
afterAll(() => proxy.stop());
const client = await RawTlsClient.connect({ port: proxy.port, version: '1.3' });
await serves(proxy);
const processes = () => [proxy.keeperPid, ...descendants(proxy.keeperPid)];

async function say(each: RawTlsClient, words: string): Promise<void> {
  each.sendData(words);
  assert.is((await each.readData(words.length)).toString(), words);
}

async function serves({ port }: RunningProxy): Promise<void> {
  const visitor = await RawTlsClient.connect({ port, version: '1.3' });
  await say(visitor, 'a visit');
  visitor.peer.reset();
}

/** A copy whose `file` has been replaced. */
function spoilt(t: TestContext, file: string, text: string): string {
  const copy = otherVersion('9.9.9', (directory) => writeFileSync(join(directory, file), text));
  t.after(copy.remove);
  return copy.directory;
}

/** By processes: the sizes of their tables, which no failure changes. */
const known = new Map<string, string>();

async function fails(why: RegExp, ...args: readonly string[]): Promise<void> {
  assert.match(await failure(...args), why);
}

/** Of what never ends in spawning: where the machine had no time left for that, once more with twice as much. */
async function hangs(to: string, seconds = 2): Promise<void> {
  const said = await failure('--timeout', `${seconds}s`, '--to', to);
  if (/preflight .*in time/.test(said) && seconds < 16) return hangs(to, 2 * seconds);
  assert.match(said, /spawning was not done in time/);
}

/** What the command says. */
async function failure(...args: readonly string[]): Promise<string> {
  const before = processes();
  const files = known.get(before.join()) ?? (await settledFiles(processes));
  known.set(before.join(), files);
  const { code, stderr, stdout } = await upgradeByCommand(proxy, ...args);
  assert.is(code, 75, stdout + stderr);
  await serves(proxy);
  await say(client, 'the same session');
  await filesAgain(processes, files);
  assert.equal(processes(), before);
  return stderr;
}

test('a path that is no installation', async () => {
  await fails(/no installation of ironsocket: it is not there/, '--to', '/there/is/none');
  await fails(/no installation of ironsocket: it has no package.json/, '--to', '/usr');
});

test('a package.json that is none, a dependency that is missing, a keeper that is no program', async (t) => {
  await fails(/its package.json is not JSON/, '--to', spoilt(t, 'package.json', '{'));
  await fails(/its package.json is not that of ironsocket/, '--to', spoilt(t, 'package.json', 'null'));
  const copy = otherVersion('9.9.9', (directory) => {
    chmodSync(join(directory, 'build/Release/keeper'), 0o644);
  });
  t.after(copy.remove);
  await fails(/build\/Release\/keeper can't be run/, '--to', copy.directory);
  rmSync(join(copy.directory, 'node_modules'));
  await fails(/commander, which it needs, is not there/, '--to', copy.directory);
});

test('no keeper, no addon, an addon that can not be loaded', async (t) => {
  const copy = otherVersion('9.9.9', (directory) => rmSync(join(directory, 'build/Release/keeper')));
  t.after(copy.remove);
  await fails(/build\/Release\/keeper is not there/, '--to', copy.directory);
  const without = otherVersion('9.9.9', (directory) => rmSync(join(directory, 'build/Release/ironsocket.node')));
  t.after(without.remove);
  await fails(/ironsocket\.node is not there/, '--to', without.directory);
  await fails(
    /preflight of .* failed: .*(ELF|file too short)/,
    '--to',
    spoilt(t, 'build/Release/ironsocket.node', 'no ELF'),
  );
});

test('a keeper that can not go on from this one', async (t) => {
  await fails(
    /its keeper can't go on from this one: exit code 64/,
    '--to',
    spoilt(t, 'build/Release/keeper', '#!/bin/sh\nexit 64\n'),
  );
});

test('a preflight that fails, hangs, speaks another version', async (t) => {
  const main = 'dist/upgrade/preflight-main.js';
  await fails(
    /preflight of .* failed: .*a fault of mine/,
    '--to',
    spoilt(t, main, 'throw new Error("a fault of mine")'),
  );
  await fails(/preflight.* in time/, '--timeout', '1s', '--to', spoilt(t, main, 'setInterval(() => {}, 1000)'));
  const control = spoilt(t, 'dist/control-version.js', 'export const controlVersion = 999;');
  await fails(/speaks version 999 of the control protocol, and what runs version/, '--to', control);
});

test('a version that refuses the configuration', async (t) => {
  const engine = spoilt(
    t,
    'dist/upgrade/preflight-main.js',
    'console.log(JSON.stringify({ version: "9.9.9", node: "", openssl: "", error: "listener one: too old a cipher" }))',
  );
  await fails(/version 9\.9\.9 can't take over: listener one: too old a cipher/, '--to', engine);
});

test('a master that fails at once, dies, hangs', async (t) => {
  const main = 'dist/master/main.js';
  await fails(/it ended during start \(exit code 3\).*spawning/s, '--to', spoilt(t, main, 'process.exit(3)'));
  await fails(/it ended during start \(signal 9\)/, '--to', spoilt(t, main, 'process.kill(process.pid, "SIGKILL")'));
  await hangs(spoilt(t, main, 'setInterval(() => {}, 1000)'));
  const setup = `export function openSetup() { throw new Error("can't go on from here"); }
    export { openSetup as closeSetup, openSetup as identityOf, openSetup as keepSetup };
    export { openSetup as openNextSetup, openSetup as certificateFor };`;
  await fails(/can't go on from here/, '--to', spoilt(t, 'dist/master/setup.js', setup));
});

test('a worker that fails or hangs', async (t) => {
  const main = 'dist/worker/main.js';
  await fails(/the worker did not start: exit \(code 3\)/, '--to', spoilt(t, main, 'process.exit(3)'));
  await hangs(spoilt(t, main, 'setInterval(() => {}, 1000)'));
});

test('a candidate that is killed while it starts, and the serving master as well', async (t) => {
  const copy = spoilt(t, 'dist/worker/main.js', 'setInterval(() => {}, 1000)');
  const master = Number(proxy.log.all({ event: 'upgrade' }).at(-1)?.pid);
  let from = proxy.log.lines.length;
  const upgrade = upgradeByCommand(proxy, '--to', copy);
  const { pid } = await proxy.log.waitFor({ process_type: 'master', event: 'startup' }, { from });
  process.kill(Number(pid), 'SIGKILL');
  assert.match((await upgrade).stderr, /it ended during start \(signal 9\)/);
  assert.ok(isAlive(master));

  from = proxy.log.lines.length;
  const second = upgradeByCommand(proxy, '--to', copy);
  const candidate = Number((await proxy.log.waitFor({ event: 'startup' }, { from })).pid);
  process.kill(master, 'SIGKILL');
  await proxy.log.waitFor({ event: 'ready' }, { from });
  const { code, stderr } = await second;
  assert.is(code, 71);
  assert.match(stderr, /"ironsocket status" tells what became of the upgrade/);
  assert.equal(await survivors([candidate]), []);
  await say(client, 'the same worker');
  await serves(proxy);
});

test('a second upgrade while one is under way, and a reload', async (t) => {
  const copy = spoilt(t, 'dist/worker/main.js', 'setInterval(() => {}, 1000)');
  const from = proxy.log.lines.length;
  const first = upgradeByCommand(proxy, '--to', copy);
  await proxy.log.waitFor({ event: 'upgrade', phase: 'preflight' }, { from });
  const second = await upgradeByCommand(proxy);
  assert.is(second.code, 75);
  assert.match(second.stderr, /another upgrade is under way/);
  process.kill(proxy.keeperPid, 'SIGHUP');
  const refused = await proxy.log.waitFor({ event: 'reload', outcome: 'refused' }, { from });
  assert.match(refused.error_msg ?? '', /an upgrade is under way/);
  // Nothing else ends it soon.
  const { pid } = await proxy.log.waitFor({ process_type: 'master', event: 'startup' }, { from });
  process.kill(Number(pid), 'SIGKILL');
  assert.is((await first).code, 75);
});

test('what others can write is not run', async (t) => {
  const copy = otherVersion('9.9.9');
  t.after(copy.remove);
  chmodSync(join(copy.directory, 'build'), 0o777);
  await fails(/other users can change .*\/build/, '--to', copy.directory);
  chmodSync(join(copy.directory, 'build'), 0o755);
  for (const file of ['package.json', 'dist/errors.js', 'dist/upgrade']) {
    chmodSync(join(copy.directory, file), 0o777);
    await fails(new RegExp(`other users can change .*/${file}`), '--to', copy.directory);
    chmodSync(join(copy.directory, file), 0o755);
  }
});

test('what a link leads to counts, not the link', async (t) => {
  const copy = otherVersion('9.9.9');
  t.after(copy.remove);
  const place = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(place, { recursive: true }));
  symlinkSync(copy.directory, join(place, 'current'));
  const checked = await upgradeByCommand(proxy, '--check', '--to', join(place, 'current'));
  assert.is(checked.report?.path, copy.directory, checked.stderr);
  chmodSync(copy.directory, 0o777);
  await fails(
    /other users can change .*ironsocket-version-\w+ .*root and its own user alone/s,
    '--to',
    join(place, 'current'),
  );
  chmodSync(copy.directory, 0o755);
  renameSync(join(copy.directory, 'dist/admin'), join(place, 'admin'));
  symlinkSync(join(place, 'admin'), join(copy.directory, 'dist/admin'));
  await fails(/dist\/admin leads to another directory/, '--to', copy.directory);
});

test(
  'what belongs to another user is not run',
  async (t) => {
    const copy = otherVersion('9.9.9');
    t.after(copy.remove);
    for (const file of ['dist/native.js', '']) {
      chownSync(join(copy.directory, file), 65_534, 65_534);
      await fails(/other users can change/, '--to', copy.directory);
    }
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'needs root' },
);

test(
  'another user is not listened to',
  async () => {
    const control = join(controlDirectory(), `${proxy.keeperPid}.sock`);
    const { code, stderr } = await ironsocketAs({ uid: 65_534 }, 'upgrade', '--control', control);
    assert.is(code, 71, stderr);
    await say(client, 'the same session');
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'needs root' },
);

test('a worker that crashes when it was ready, and the one that serves', async () => {
  const other = await startProxy({ listeners: [{ backend: echo.address }], env: { IRONSOCKET_TEST_PAUSES: '1' } });
  const before = other.workerPid();
  const first = await upgradePaused(other, 'spawning', 3);
  process.kill(other.workerPid(), 'SIGSEGV');
  assert.match((await first.upgrade).stderr, /no upgrade, all is as before/);
  const { upgrade, paused } = await upgradePaused(other, 'switching', 3);
  const from = other.log.lines.indexOf(paused);
  process.kill(before, 'SIGSEGV');
  assert.is((await upgrade).code, 75);
  await other.log.waitFor({ worker_state: 'dead', reason: 'SIGSEGV' }, { from });
  await serves(other);
  await upgradeBySignal(other);
  await serves(other);
  await other.stop();
});

test('a full disk under the log', async () => {
  const other = await startProxy({
    listeners: [{ backend: echo.address }],
    config: { log: { file: '/dev/full' } },
    log: false,
  });
  await serves(other);
  const { code, stderr } = await upgradeByCommand(other);
  assert.is(code, 0, stderr);
  await serves(other);
  await other.stop();
});

test('an upgrade while the service drains', async () => {
  const config = { timeouts: { drain: '1m' } };
  const other = await startProxy({ listeners: [{ backend: echo.address }], config });
  const held = await RawTlsClient.connect({ port: other.port, version: '1.3' });
  await say(held, 'before');
  process.kill(other.keeperPid, 'SIGTERM');
  await other.log.waitFor({ event: 'draining' });
  const { code, stderr } = await upgradeByCommand(other);
  assert.is(code, 75);
  assert.match(stderr, /the service is stopping/);
  await say(held, 'to the end');
  held.peer.reset();
  await other.stop();
});

test('TERM during an upgrade ends the service in order', async (t) => {
  const other = await startProxy({ listeners: [{ backend: echo.address }] });
  const copy = spoilt(t, 'dist/worker/main.js', 'setInterval(() => {}, 1000)');
  const upgrade = upgradeByCommand(other, '--to', copy);
  await other.log.waitFor({ event: 'upgrade', phase: 'preflight' });
  await other.stop();
  assert.is.not((await upgrade).code, 0);
});

test('to a copy with another version and back, after all that', async (t) => {
  const copy = otherVersion('9.9.9');
  t.after(copy.remove);
  const checked = await upgradeByCommand(proxy, '--check', '--to', copy.directory);
  assert.is(checked.code, 0, checked.stderr);
  assert.ok(checked.report?.checked);
  assert.is(checked.report?.to, '9.9.9');
  const there = await upgradeByCommand(proxy, '--to', copy.directory);
  assert.is(there.code, 0, there.stderr);
  assert.is(there.report?.to, '9.9.9');
  assert.is(there.report?.path, copy.directory);
  const back = await upgradeByCommand(proxy, '--to', root);
  assert.is(back.code, 0, back.stderr);
  assert.is(back.report?.from, '9.9.9');
  assert.is(back.report?.keeper, 'replaced');
  await serves(proxy);
  await say(client, 'the same session still');
  await upgradeBySignal(proxy);
});
