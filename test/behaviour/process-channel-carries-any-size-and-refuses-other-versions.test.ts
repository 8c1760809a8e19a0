// SPDX-License-Identifier: MIT
// The channel between master and worker: packets are limited, messages are not; and processes of different releases part with a sentence.
// Not in the kernel lab: no session and no socket of a client.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { workerShapes } from '../../src/master/worker-shapes.ts';
import { native } from '../../src/native.ts';
import { type Link, openLink } from '../../src/worker/link.ts';
import { nodePath, workerPath } from '../helpers/installation.ts';
import { test } from '../helpers/suite.ts';

interface Message {
  readonly type: string;
  readonly text?: string;
  readonly number?: number;
}
/** kMaxMemfdText in native/control/memfd.h. */
const largestText = 16 << 20;
type Received = [Message, readonly number[]];

/** Two ends; `next` gives what the second receives, in order. */
function pair(): { readonly a: Link<Message>; readonly next: () => Promise<Received>; readonly close: () => void } {
  const { a, b } = native.socketPair();
  const received: Received[] = [];
  const takers: ((message: Received) => void)[] = [];
  const ignore = { onClose: () => {}, onMismatch: () => {} };
  const first = openLink<Message, Message>({ fd: a, onMessage: () => {}, ...ignore });
  const second = openLink<Message, Message>({
    fd: b,
    onMessage: (message, fds) => {
      const taker = takers.shift();
      if (taker === undefined) received.push([message, fds]);
      else taker([message, fds]);
    },
    ...ignore,
  });
  const next = (): Promise<Received> => {
    const message = received.shift();
    return message !== undefined ? Promise.resolve(message) : new Promise((resolve) => takers.push(resolve));
  };
  const close = (): void => {
    first.close();
    second.close();
  };
  return { a: first, next, close };
}

test('a megabyte of text and 600 descriptors are one message, in order', async (t) => {
  const { a, next, close } = pair();
  t.after(close);
  const fds = Array.from({ length: 600 }, (_, i) => native.textToMemfd({ name: 'test', text: String(i) }));
  const words = 'äöü\u2028"'.repeat(200_000);
  a.send({ type: 'small', number: 1 });
  a.send({ type: 'large', text: words }, fds);
  a.send({ type: 'small', number: 2 });
  for (const fd of fds) native.closeFd({ fd });

  assert.is((await next())[0].number, 1);
  const [message, received] = await next();
  assert.ok(message.text === words);
  assert.equal(
    received.map((fd) => native.memfdToText({ fd })),
    fds.map((_, i) => String(i)),
  );
  for (const fd of received) native.closeFd({ fd });
  assert.is((await next())[0].number, 2);
});

/** Sends until it throws, which it must not before so many wait; the other end has no turn of the loop meanwhile. */
function fill(a: Link<Message>, most = Number.POSITIVE_INFINITY): { sent: number; failure?: NodeJS.ErrnoException } {
  for (let sent = 0; ; sent++) {
    if (sent === most) return { sent };
    try {
      a.send({ type: 'small', number: sent });
    } catch (error) {
      return { sent, failure: error as NodeJS.ErrnoException };
    }
  }
}

test('a peer that does not read is told of, and what was taken arrives', async (t) => {
  const { a, next, close } = pair();
  t.after(close);
  const { sent, failure } = fill(a);
  assert.is(failure?.code, 'ENOBUFS');
  assert.is(failure?.syscall, 'sendmsg');
  // What is sent, and what waits.
  assert.ok(sent > 4_096);
  for (let i = 0; i < sent; i++) assert.is((await next())[0].number, i);
});

test("descriptors whose message could not follow are not the next one's", async (t) => {
  const first = pair();
  const { a, next, close } = pair();
  t.after(first.close);
  t.after(close);
  const room = fill(first.a).sent;
  fill(a, room - 1);
  const fd = native.textToMemfd({ name: 'test', text: 'mine' });
  const other = native.textToMemfd({ name: 'test', text: 'not mine' });
  assert.throws(
    () => a.send({ type: 'large', number: -1 }, Array(250).fill(other)),
    (error: NodeJS.ErrnoException) => error.code === 'ENOBUFS',
  );
  for (let i = 0; i < room - 1; i++) assert.is((await next())[0].number, i);
  a.send({ type: 'small', number: room }, [fd]);
  const [message, received] = await next();
  assert.is(message.number, room);
  assert.equal(
    received.map((each) => native.memfdToText({ fd: each })),
    ['mine'],
  );
  for (const each of [fd, other, ...received]) native.closeFd({ fd: each });
});

test('a peer that talks nonsense is told of, whatever it says, and leaves no descriptor', async (t) => {
  const { a, b } = native.socketPair();
  const errors: string[] = [];
  const heard = Promise.withResolvers<void>();
  const link = openLink<Message, Message>({
    fd: b,
    onMessage: () => heard.resolve(),
    onMismatch: (error) => errors.push(error),
    onClose: () => {},
    shapes: workerShapes,
  });
  const channel = native.openChannel({ fd: a, onMessage: () => {}, onClose: () => {} });
  t.after(() => {
    channel.close();
    link.close();
  });
  const files = (): number => readdirSync('/proc/self/fd').length;
  const before = files();
  const packet = (type: unknown, more = {}): string => JSON.stringify({ v: 1, type, ...more });
  const memfd = native.textToMemfd({ name: 'test', text: packet('memfd') });
  const said = ['no JSON', 'null', '[]', packet(7), packet('memfd'), packet('failed', { error: [] }), packet('ready')];
  for (const message of said) channel.send({ message });
  channel.send({ message: packet('fds'), fds: [memfd, memfd] });
  channel.send({ message: packet('memfd'), fds: [memfd, memfd] });
  channel.send({ message: packet('of-a-later-version') });
  native.closeFd({ fd: memfd });
  await heard.promise;
  assert.is(errors.length, said.length + 1, errors.join('\n'));
  assert.is(files(), before);
});

test('a message that can not be read is lost, and those before and behind it are not', async (t) => {
  const { a, b } = native.socketPair();
  const came: string[] = [];
  let lost = 0;
  const last = Promise.withResolvers<void>();
  const link = openLink<Message, Message>({
    fd: b,
    onMessage: ({ type }) => {
      came.push(type);
      if (type === 'last') last.resolve();
    },
    onLost: () => void lost++,
    onMismatch: (error) => last.reject(new Error(error)),
    onClose: () => {},
  });
  const channel = native.openChannel({ fd: a, onMessage: () => {}, onClose: () => {} });
  t.after(() => {
    channel.close();
    link.close();
  });
  const packet = (type: string): string => JSON.stringify({ v: 1, type });
  assert.throws(
    () => native.textToMemfd({ name: 'test', text: 'x'.repeat(largestText + 1) }),
    (error: NodeJS.ErrnoException) => error.code === 'EFBIG',
  );
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  // Sparse, so it costs nothing.
  const file = openSync(join(directory, 'too-long'), 'w+');
  ftruncateSync(file, largestText + 1);
  const files = (): number => readdirSync('/proc/self/fd').length;
  const before = files();
  channel.send({ message: packet('first') });
  channel.send({ message: packet('fds'), fds: [file, file] });
  channel.send({ message: packet('memfd'), fds: [file, file] });
  channel.send({ message: packet('last') });
  await last.promise;
  closeSync(file);
  assert.equal(came, ['first', 'last']);
  assert.is(lost, 1);
  assert.is(files(), before - 1);
});

/** Opens files until only so many more may be open. Gives what closes them again. */
function leaveRoomFor(files: number): () => void {
  const highest = Math.max(...readdirSync('/proc/self/fd').map(Number));
  execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${highest + 50}:`]);
  const opened: number[] = [];
  try {
    for (;;) opened.push(openSync('/dev/null', 'r'));
  } catch (error) {
    assert.is((error as NodeJS.ErrnoException).code, 'EMFILE');
  }
  for (const fd of opened.splice(-files)) closeSync(fd);
  return () => {
    for (const fd of opened) closeSync(fd);
  };
}

test('a message whose descriptors have no room is lost as a whole, and no other gets one of them', async (t) => {
  const { a, b } = native.socketPair();
  const [mine, other] = ['mine', 'not mine'].map((text) => native.textToMemfd({ name: 'test', text })) as [
    number,
    number,
  ];
  const came: [string, ...string[]][] = [];
  let lost = 0;
  const last = Promise.withResolvers<void>();
  const link = openLink<Message, Message>({
    fd: b,
    onMessage: ({ type }, fds) => {
      came.push([type, ...fds.map((fd) => native.memfdToText({ fd }))]);
      for (const fd of fds) native.closeFd({ fd });
      if (type === 'last') last.resolve();
    },
    onLost: () => void lost++,
    onMismatch: (error) => last.reject(new Error(error)),
    onClose: () => last.reject(new Error('closed')),
  });
  const channel = native.openChannel({ fd: a, onMessage: () => {}, onClose: () => {} });
  t.after(() => {
    channel.close();
    link.close();
    for (const fd of [mine, other]) native.closeFd({ fd });
  });
  const send = (type: string, fds: readonly number[], more = {}) =>
    channel.send({ message: JSON.stringify({ v: 1, type, ...more }), fds });
  const makeRoom = leaveRoomFor(2);
  const files = (): number => readdirSync('/proc/self/fd').length;
  const before = files();
  // The first piece, the last one, and one whose message never follows.
  send('fds', [other, other, other]);
  send('fds', [other]);
  send('tail', [other]);
  send('one', [mine, mine]);
  send('fds', [other]);
  send('head', [other, other]);
  send('two', [mine]);
  send('fds', [other, other, other]);
  send('three', [mine], { fresh: true });
  send('last', []);
  try {
    await last.promise;
    assert.is(files(), before);
  } finally {
    makeRoom();
  }
  assert.equal(came, [['one', 'mine', 'mine'], ['two', 'mine'], ['three', 'mine'], ['last']]);
  assert.is(lost, 3);
});

test('a worker refuses a master of another release, and ends', async () => {
  const { a, b } = native.socketPair();
  const worker = spawn(nodePath, [workerPath], { stdio: ['ignore', 'ignore', 'inherit', b] });
  native.closeFd({ fd: b });
  const answers: string[] = [];
  const exited = once(worker, 'exit');
  const channel = native.openChannel({ fd: a, onMessage: (text) => answers.push(text), onClose: () => {} });
  channel.send({ message: JSON.stringify({ v: 99, type: 'plan' }) });
  assert.equal(await exited, [70, null]);
  const answer = JSON.parse(answers[0] ?? '{}');
  assert.is(answer.type, 'failed');
  assert.match(answer.error, /^control protocol version 99 is not \d+: /);
});

test('a worker without a master ends', async () => {
  const { a, b } = native.socketPair();
  const worker = spawn(nodePath, [workerPath], { stdio: ['ignore', 'ignore', 'inherit', b] });
  for (const fd of [a, b]) native.closeFd({ fd });
  assert.equal(await once(worker, 'exit'), [0, null]);
});
