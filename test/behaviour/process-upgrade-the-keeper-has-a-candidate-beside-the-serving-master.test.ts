// SPDX-License-Identifier: MIT
// The keeper's part of an upgrade (native/keeper/upgrade.cc), with masters that the test plays: whoever dies at whatever step, one serves.
// Not in the kernel lab: no session and no socket of a client.
import * as assert from 'uvu/assert';
import { PlayedKeeper, type PlayedMaster } from '../helpers/keeper.ts';
import { descendants, filesAgain, isAlive, settledFiles, survivors } from '../helpers/processes.ts';
import { type TestContext, test } from '../helpers/suite.ts';

interface Played {
  readonly keeper: PlayedKeeper;
  readonly serving: PlayedMaster;
}

async function play(t: TestContext): Promise<Played> {
  const keeper = await PlayedKeeper.start();
  t.after(() => keeper.stop());
  const serving = await keeper.master();
  assert.equal(await serving.hearsAll('go'), ['hello 1 1 0 serving', 'go']);
  serving.says('put state', 'of the first');
  serving.says('put worker:1:channel', 'mine alone');
  serving.says('ready');
  return { keeper, serving };
}

async function addCandidate({ keeper, serving }: Played, program?: string): Promise<PlayedMaster> {
  serving.says(keeper.candidate(program), 'peer');
  const candidate = await keeper.master();
  assert.is(await serving.hears('candidate '), `candidate ${candidate.pid}`);
  return candidate;
}

async function readies(candidate: PlayedMaster, serving: PlayedMaster): Promise<void> {
  candidate.says('ready');
  await serving.hears('candidate-ready');
}

async function upgraded(t: TestContext): Promise<Played & { readonly old: PlayedMaster }> {
  const played = await play(t);
  const candidate = await addCandidate(played);
  await readies(candidate, played.serving);
  played.serving.says('commit');
  await candidate.hears('keeper replaced');
  return { ...played, serving: candidate, old: played.serving };
}

test('a candidate gets what is held, but for workers, and serves after the commit', async (t) => {
  const played = await play(t);
  const { keeper, serving } = played;
  const candidate = await addCandidate(played);
  const greeting = ['hello 1 2 0 candidate', 'have peer', 'have state', 'go'];
  assert.equal(await candidate.hearsAll('go'), greeting);
  candidate.says('put own', 'of the candidate');
  await readies(candidate, serving);
  serving.says('commit');
  assert.is(await serving.hears('role'), 'role leaving');
  assert.is(await candidate.hears('role'), 'role serving');
  assert.is(await candidate.hears('keeper '), 'keeper replaced');
  const line = await keeper.log.waitFor({ event: 'keeper', state: 'replaced' });
  assert.is(line.pid, String(keeper.pid));

  // Each has its own store, and HUP goes to the one that serves.
  candidate.kill();
  const next = await keeper.master();
  assert.equal(await next.hearsAll('go'), ['hello 1 2 1 serving', 'have own', 'have peer', 'have state', 'go']);
  next.says('ready');
  process.kill(keeper.pid, 'SIGHUP');
  await next.hears('signal 1 ');
  serving.kill();
  const old = await keeper.master();
  assert.equal(await old.hearsAll('go'), ['hello 1 2 1 leaving', 'have state', 'have worker:1:channel', 'go']);
});

test('a candidate that dies, hangs up or can not be started changes nothing', async (t) => {
  const played = await play(t);
  const { keeper, serving } = played;
  (await addCandidate(played)).kill();
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended signal 9');
  (await addCandidate(played)).exits(70);
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended exit code 70');
  serving.says(['candidate /keeper', '/there/is/none'].join('\0'));
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended exit code 71');
  serving.says('candidate ');
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended no program was named');
  assert.equal(descendants(keeper.pid), [serving.pid]);
  await addCandidate(played);
});

test('a candidate is ended by abort, by a commit before it is ready, and by TERM', async (t) => {
  const played = await play(t);
  const { keeper, serving } = played;
  const first = await addCandidate(played);
  serving.says('abort');
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended the upgrade was given up');
  const second = await addCandidate(played);
  serving.says('commit');
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended it was not ready');
  const third = await addCandidate(played);
  process.kill(keeper.pid, 'SIGTERM');
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended the service was told to end');
  serving.says('commit');
  assert.is(await serving.hears('candidate-ended'), 'candidate-ended before the commit');
  assert.equal(await survivors([first.pid, second.pid, third.pid]), []);
  serving.says('exit 0');
  serving.exits(0);
  assert.equal(await keeper.exited, [0, null]);
});

test('there is one candidate at a time', async (t) => {
  const played = await play(t);
  const { keeper, serving } = played;
  const candidate = await addCandidate(played);
  serving.says(keeper.candidate());
  assert.match(await serving.hears('candidate-ended'), 'there is another one');
  assert.ok(isAlive(candidate.pid));
  candidate.says('commit');
  await keeper.log.waitFor({ error_msg: 'unknown message from the master', message: 'commit' });
});

test('a serving master that dies takes its candidate with it', async (t) => {
  const played = await play(t);
  const { keeper, serving } = played;
  const candidate = await addCandidate(played);
  await readies(candidate, serving);
  serving.kill();
  const next = await keeper.master();
  assert.equal(await next.hearsAll('go'), ['hello 1 1 1 serving', 'have state', 'have worker:1:channel', 'go']);
  assert.equal(await survivors([candidate.pid]), []);
  next.says('ready');
  await addCandidate({ keeper, serving: next });
});

test('a serving master that dies right after its commit leaves', async (t) => {
  const played = await play(t);
  const candidate = await addCandidate(played);
  await readies(candidate, played.serving);
  played.serving.says('commit');
  await candidate.hears('role serving');
  played.serving.kill();
  const old = await played.keeper.master();
  assert.is(await old.hears('hello'), 'hello 1 2 1 leaving');
  assert.ok(isAlive(candidate.pid));
});

test('USR1 and TERM are told to the old master too, and its exit is its own', async (t) => {
  const { keeper, serving, old } = await upgraded(t);
  process.kill(keeper.pid, 'SIGUSR1');
  await Promise.all([serving.hears('signal 10 '), old.hears('signal 10 ')]);
  process.kill(keeper.pid, 'SIGTERM');
  await Promise.all([serving.hears('signal 15 '), old.hears('signal 15 ')]);
  serving.says('exit 0');
  serving.exits(0);
  assert.equal(await survivors([serving.pid]), []);
  assert.ok(isAlive(old.pid));
  assert.is(keeper.child.exitCode, null);
  old.says('exit 9');
  old.exits(9);
  assert.equal(await keeper.exited, [0, null]);
});

test('the keeper stays as it is where its successor can not be executed', async (t) => {
  const played = await play(t);
  const { keeper, serving } = played;
  const candidate = await addCandidate(played, '/there/is/none');
  await readies(candidate, serving);
  serving.says('commit');
  assert.is(await candidate.hears('keeper '), 'keeper kept execve: No such file or directory');
  await keeper.log.waitFor({ error_msg: 'the keeper stays as it is', file: '/there/is/none' });
  candidate.kill();
  const next = await keeper.master();
  assert.equal(await next.hearsAll('go'), ['hello 1 2 1 serving', 'have peer', 'have state', 'go']);
});

test('ten changes of keepers lose no signal and leave no descriptor', changes, { deadline: 60_000 });
async function changes(t: TestContext): Promise<void> {
  const played = await play(t);
  const { keeper } = played;
  let { serving } = played;
  let files: string | undefined;
  for (let i = 0; i < 10; i++) {
    const candidate = await addCandidate({ keeper, serving });
    await readies(candidate, serving);
    serving.says('commit');
    await candidate.hears('role serving');
    process.kill(keeper.pid, 'SIGHUP');
    const heard = [await candidate.hears(/^(signal|keeper)/), await candidate.hears(/^(signal|keeper)/)];
    assert.equal(heard.sort(), ['keeper replaced', `signal 1 ${process.pid}`]);
    serving.says('exit 0');
    serving.exits(0);
    assert.equal(await survivors([serving.pid]), []);
    serving = candidate;
    files ??= await settledFiles(() => [keeper.pid]);
  }
  assert.is(keeper.child.exitCode, null);
  await filesAgain(() => [keeper.pid], files ?? '');
  // An ended master is its child until it looks.
  while (descendants(keeper.pid).length !== 1) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(descendants(keeper.pid), [serving.pid]);
}
