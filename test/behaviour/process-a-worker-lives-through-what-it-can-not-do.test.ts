// SPDX-License-Identifier: MIT
// A worker that is asked for what it does not know, or has no descriptors for, says so and goes on: its sessions are worth more.
// Not in the kernel lab: no session and no socket of a client.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { counterNames, native } from '../../src/native.ts';
import { type Link, openLink } from '../../src/worker/link.ts';
import type { ToMaster, ToWorker, WorkerPlan } from '../../src/worker/messages.ts';
import { nodePath, workerPath } from '../helpers/installation.ts';
import { type TestContext, test } from '../helpers/suite.ts';

const channelFd = 3;
const plan: Omit<WorkerPlan, 'logFd' | 'countersFd'> = {
  ...{ id: 1, revision: 1, logLevel: 'info', accepting: true },
  ...{ handshakeThreads: 1, relayThreads: 2, keyUpdateRecords: 0, kernelDirections: 'both' },
  plan: { listeners: [], maxConnections: 10, ticketKeysFd: -1 },
};

interface Worker {
  readonly process: ChildProcess;
  readonly link: Link<ToWorker | { readonly type: 'of-a-newer-release' }>;
  /** The next message of this type. */
  readonly next: <Type extends ToMaster['type']>(type: Type) => Promise<Extract<ToMaster, { type: Type }>>;
  readonly exited: Promise<unknown[]>;
}

/** One that serves a plan without listeners. */
async function serving(t: TestContext): Promise<Worker> {
  const { a, b } = native.socketPair();
  const process = spawn(nodePath, [workerPath], { stdio: ['ignore', 'ignore', 'inherit', b] });
  native.closeFd({ fd: b });
  const exited = once(process, 'exit');
  t.after(() => void process.kill('SIGKILL'));
  const received: ToMaster[] = [];
  let heard = Promise.withResolvers<void>();
  const link: Worker['link'] = openLink<ToWorker | { readonly type: 'of-a-newer-release' }, ToMaster>({
    fd: a,
    onMessage: (message, fds) => {
      for (const fd of fds) native.closeFd({ fd });
      received.push(message);
      heard.resolve();
      heard = Promise.withResolvers();
    },
    onClose: () => {},
    onMismatch: () => {},
  });
  const next: Worker['next'] = async (type) => {
    for (;;) {
      const found = received.findIndex((message) => message.type === type);
      if (found >= 0) return received.splice(found, 1)[0] as Extract<ToMaster, { type: typeof type }>;
      await heard.promise;
    }
  };
  const logFd = native.textToMemfd({ name: 'log', text: '' });
  const countersFd = native.makeCounters({ names: counterNames, threads: 3 });
  link.send({ type: 'plan', ...plan, logFd: 0, countersFd: 1 }, [logFd, countersFd]);
  for (const fd of [logFd, countersFd]) native.closeFd({ fd });
  await next('ready');
  return { process, link, next, exited };
}

test('a message that it does not know changes nothing', async (t) => {
  const { process, link, next, exited } = await serving(t);
  const files = () => execFileSync('ls', [`/proc/${process.pid}/fd`], { encoding: 'utf8' });
  const before = files();
  const fd = native.textToMemfd({ name: 'test', text: '' });
  link.send({ type: 'of-a-newer-release' }, [fd]);
  native.closeFd({ fd });
  link.send({ type: 'master', pid: 1 });
  assert.equal(await next('status'), { v: 1, type: 'status', state: 'serving', revision: 1, accepting: true });
  assert.is(files(), before);
  link.send({ type: 'drain' });
  assert.is((await next('drained')).cut, 0);
  assert.equal(await exited, [0, null]);
});

test('a plan that it has no descriptors for is lost, which it says', async (t) => {
  const { process, link, next } = await serving(t);
  execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${channelFd + 1}`]);
  const fd = native.textToMemfd({ name: 'test', text: '' });
  link.send({ type: 'reconfigure', ...plan, revision: 2, logFd: 0, countersFd: -1 }, [fd]);
  native.closeFd({ fd });
  await next('lost');
  link.send({ type: 'master', pid: 1 });
  assert.equal(await next('status'), { v: 1, type: 'status', state: 'serving', revision: 1, accepting: true });
});

test('without descriptors for the handoff it keeps its sessions and says why', async (t) => {
  const { process, link, next } = await serving(t);
  execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${channelFd + 1}`]);
  link.send({ type: 'give' });
  assert.match((await next('given')).refusal, /EMFILE|too many open files/i);
  link.send({ type: 'master', pid: 1 });
  assert.is((await next('status')).state, 'serving');
});
