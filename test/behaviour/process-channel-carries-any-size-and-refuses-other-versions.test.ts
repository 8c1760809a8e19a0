// SPDX-License-Identifier: MIT
// The channel between master and worker: packets are limited, messages are not; and processes of different releases part with a sentence.
// Not in the kernel lab: no session and no socket of a client.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { native } from '../../src/native.ts';
import { type Link, openLink } from '../../src/worker/link.ts';
import { nodePath } from '../helpers/proxy.ts';
import { test } from '../helpers/suite.ts';

interface Message {
  readonly type: string;
  readonly text?: string;
  readonly number?: number;
}
type Received = [Message, readonly number[]];

const workerPath = fileURLToPath(new URL('../../dist/worker/main.js', import.meta.url));

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

test('a peer that does not read is told of, and what was taken arrives', async (t) => {
  const { a, next, close } = pair();
  t.after(close);
  let sent = 0;
  const failure = (() => {
    for (;;) {
      try {
        // The other end has no turn of the loop meanwhile.
        a.send({ type: 'small', number: sent });
        sent++;
      } catch (error) {
        return error as NodeJS.ErrnoException;
      }
    }
  })();
  assert.is(failure.code, 'ENOBUFS');
  assert.is(failure.syscall, 'sendmsg');
  assert.ok(sent > 4_096);
  for (let i = 0; i < sent; i++) assert.is((await next())[0].number, i);
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
