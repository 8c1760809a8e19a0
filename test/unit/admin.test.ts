// SPDX-License-Identifier: MIT
// The control socket: where it is, what its lines hold, and how a status is shown.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/admin/client.ts';
import { findService } from '../../src/admin/find.ts';
import { controlDirectory, controlPath, defaultSockets, makeControlDirectory } from '../../src/admin/places.ts';
import { decodeError, encodeError } from '../../src/admin/protocol.ts';
import { serveAdmin } from '../../src/admin/server.ts';
import { durationText } from '../../src/commands/status.ts';
import type { Fault } from '../../src/config/fault.ts';
import { parseControl } from '../../src/config/values.ts';
import { ConfigError, ExpectedError, RetryError } from '../../src/errors.ts';
import { type Status, sessionsOf } from '../../src/master/status.ts';
import { counterNames, native } from '../../src/native.ts';
import type { EngineCounters } from '../../src/worker/counters.ts';
import { afterAll, type TestContext, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));

test('where sockets are', () => {
  assert.is(controlDirectory({}, 0), '/run/ironsocket');
  assert.is(controlDirectory({ XDG_RUNTIME_DIR: '/run/user/7' }, 7), '/run/user/7/ironsocket');
  assert.is(controlDirectory({ XDG_RUNTIME_DIR: 'relative' }, 7), join(tmpdir(), 'ironsocket-7'));
  const both = { RUNTIME_DIRECTORY: '/run/a:/run/b', XDG_RUNTIME_DIR: '/run/user/7' };
  assert.equal([controlDirectory(both, 7), controlDirectory(both, 0)], ['/run/a', '/run/ironsocket']);
  assert.is(controlPath({}, 12), join(controlDirectory(), '12.sock'));
  assert.is(controlPath({ control: '/x.sock' }, 12), '/x.sock');
  assert.is(controlPath({ control: 'off' }, 12), undefined);
});

test('sockets at the default place are found by their numbers', () => {
  const place = join(directory, 'place');
  assert.equal(defaultSockets([place]), []);
  mkdirSync(place);
  for (const name of ['12.sock', '7.sock', 'x.sock', '12.sock.old']) writeFileSync(join(place, name), '');
  assert.equal(defaultSockets([place]).toSorted(), [join(place, '12.sock'), join(place, '7.sock')]);
});

test('a directory in which others may write is refused', () => {
  const path = join(directory, 'own', '1.sock');
  makeControlDirectory(path);
  makeControlDirectory(path);
  chmodSync(join(directory, 'own'), 0o777);
  assert.throws(() => makeControlDirectory(path), /others may write/);
});

test('what the key takes', () => {
  assert.equal(parseControl('off'), { value: 'off' });
  assert.equal(parseControl('run/x.sock'), { value: 'run/x.sock' });
  for (const bad of ['', '/run/', 'unix:/x', '@x', 'a\0b']) assert.ok('message' in parseControl(bad), bad);
});

test('an error arrives as it was', () => {
  const fault: Fault = { severity: 'fault', code: 'ERR_X', path: 'x', message: 'wrong', file: 'a.yaml', line: 1 };
  const config = decodeError(encodeError(new ConfigError([fault])));
  assert.ok(config instanceof ConfigError);
  assert.equal((config as ConfigError).faults, [fault]);
  const retry = decodeError(encodeError(new RetryError('later', { hint: 'wait' })));
  assert.ok(retry instanceof ExpectedError);
  assert.equal([retry.message, retry.hint, retry.code, retry.exitCode], ['later', 'wait', 'ERR_RETRY', 75]);
  assert.is(decodeError(encodeError(new TypeError('x'))).exitCode, 70);
});

function serve(t: TestContext): string {
  const path = join(directory, 'served.sock');
  const fd = native.listen({ address: `unix:${path}`, backlog: 1, v6Only: false, mode: 0o600 });
  const server = serveAdmin(fd, {
    echo: async ({ text }, tell) => {
      tell({ half: true });
      return { text };
    },
    fail: async () => {
      throw new RetryError('not now');
    },
  });
  t.after(() => server.close());
  return path;
}

test('a question, progress, and the answer, however long', async (t) => {
  const path = serve(t);
  const seen: object[] = [];
  const text = 'ü'.repeat(1 << 20);
  const answer = await ask(path, { command: 'echo', text }, (progress) => seen.push(progress));
  assert.equal(answer, { text });
  assert.equal(seen, [{ half: true }]);
  const error = await ask(path, { command: 'fail' }).then(
    () => undefined,
    (thrown: ExpectedError) => thrown,
  );
  assert.equal([error?.message, error?.exitCode], ['not now', 75]);
});

test('a service that hangs up, or is none', async (t) => {
  const path = join(directory, 'mute.sock');
  const server = createServer((socket) => socket.destroy()).listen(path);
  t.after(() => server.close());
  const failure = (where: string) =>
    ask(where, { command: 'status' }).then(
      () => '',
      (error: Error) => error.message,
    );
  assert.match(await failure(path), /gave no answer/);
  assert.match(await failure(join(directory, 'none.sock')), /can't reach the service/);
});

test('who has connected is known by the kernel', () => {
  const { a, b } = native.socketPair();
  assert.equal(native.peerCredentials({ fd: a }), {
    pid: process.pid,
    uid: process.geteuid?.(),
    gid: process.getegid?.(),
  });
  for (const fd of [a, b]) native.closeFd({ fd });
  assert.throws(() => native.peerCredentials({ fd: a }), /EBADF/);
});

test('durations for people', () => {
  const texts = [0, 59, 60, 3_599, 3_600, 90_061].map(durationText);
  assert.equal(texts, ['0s', '59s', '1m 0s', '59m 59s', '1h 0m', '1d 1h']);
});

test('sessions by engine never go below zero', () => {
  const zero = Object.fromEntries(counterNames.map((name) => [name, 0])) as EngineCounters;
  const { from_client, to_client } = sessionsOf({
    ...zero,
    sessions_open: 3,
    sessions_kernel_rx: 4,
    sessions_kernel_tx: 1,
  });
  assert.equal(
    [from_client, to_client],
    [
      { kernel: 4, userspace: 0 },
      { kernel: 1, userspace: 2 },
    ],
  );
});

/** A directory of control sockets, in which services are played. */
function place(t: TestContext) {
  const where = mkdtempSync(join(directory, 'find-'));
  const listen = (pid: number) => {
    const path = join(where, `${pid}.sock`);
    return { path, fd: native.listen({ address: `unix:${path}`, backlog: 4, v6Only: false, mode: 0o600 }) };
  };
  return {
    where,
    find: (config?: string) => findService({ config }, [where]),
    answers: (pid: number, config: string | null, state: Status['state'] = 'serving') => {
      const { path, fd } = listen(pid);
      const server = serveAdmin(fd, { status: async () => ({ config, state }) });
      t.after(() => server.close());
      return path;
    },
    hangsUp: (pid: number) => {
      const path = join(where, `${pid}.sock`);
      const server = createServer((socket) => socket.destroy()).listen(path);
      t.after(() => server.close());
      return path;
    },
    /** Its queue is filled, but nobody takes from it. */
    hangs: (pid: number) => {
      const { path, fd } = listen(pid);
      t.after(() => native.closeFd({ fd }));
      return path;
    },
    /** As a killed service leaves it. */
    left: (pid: number) => {
      const { path, fd } = listen(pid);
      native.closeFd({ fd });
      return path;
    },
  };
}

async function refusal(work: Promise<string>): Promise<ExpectedError> {
  return work.then(
    (path) => assert.unreachable(`found ${path}`),
    (error) => error as ExpectedError,
  ) as Promise<ExpectedError>;
}

test('the service that is meant is found past those that hang up, hang, or have been killed', async (t) => {
  const services = place(t);
  services.hangsUp(1_001);
  services.hangs(1_002);
  services.left(1_003);
  const path = services.answers(1_004, '/etc/a.yaml');
  const found = [services.find('/etc/a.yaml'), services.find()];
  const { message, hint, exitCode } = await refusal(services.find('/etc/b.yaml'));
  assert.equal(await Promise.all(found), [path, path]);
  assert.equal([message, exitCode], ['no service runs with /etc/b.yaml', 71]);
  assert.match(hint ?? '', /no answer came from \S+1001\.sock and \S+1002\.sock;/);
});

test('several services are told with what they were started with', async (t) => {
  const services = place(t);
  const [a, b] = [services.answers(1_001, '/etc/a.yaml'), services.answers(1_002, null)];
  const { message, hint, exitCode } = await refusal(services.find());
  assert.equal([message, exitCode], ['2 services are running', 64]);
  const lines = (hint ?? '').split('\n').map((line) => line.trim());
  assert.is(lines[0], 'choose one with -c FILE or --control PATH:');
  assert.equal(lines.slice(1).toSorted(), [`${a}  /etc/a.yaml`, `${b}  flags`]);
  assert.is(await services.find('/etc/a.yaml'), a);
});

test('one that is stopping is meant only when it is the only one', async (t) => {
  const services = place(t);
  const stopping = services.answers(1_001, '/etc/a.yaml', 'stopping');
  assert.is(await services.find(), stopping);
  const next = services.answers(1_002, '/etc/a.yaml');
  assert.equal([await services.find(), await services.find('/etc/a.yaml')], [next, next]);
});

test('what a killed service has left is removed, and nothing else is', async (t) => {
  const services = place(t);
  const ended = spawnSync('true').pid;
  const stale = services.left(ended);
  // Its process is there: it has not got to its listen() yet, or ends just now.
  const starting = services.left(process.pid);
  const file = join(services.where, '1001.sock.yaml');
  writeFileSync(file, '');
  await refusal(services.find());
  assert.equal([stale, starting, file].map(existsSync), [false, true, true]);
});

test('where others may write, nothing is removed', async (t) => {
  const services = place(t);
  const stale = services.left(spawnSync('true').pid);
  chmodSync(services.where, 0o777);
  await refusal(services.find());
  assert.ok(existsSync(stale));
});
