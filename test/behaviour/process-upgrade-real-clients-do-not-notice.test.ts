// SPDX-License-Identifier: MIT
// Programs as people use them go on through upgrades: ssh, a WebSocket, curl, gnutls-cli and openssl s_client, which change keys
// after them and resume what began before.
// Not in the kernel lab: a process of its own for each is slow there; the kernel's sessions of every kind have a test that runs there.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { ecdsa } from '../helpers/certificates.ts';
import { KnownStream } from '../helpers/known-stream.ts';
import { missing, type Program, startProgram } from '../helpers/programs.ts';
import { freePort, startProxy } from '../helpers/proxy.ts';
import { afterAll, type TestContext, test as testWith } from '../helpers/suite.ts';
import { upgradeBySignal } from '../helpers/upgrade.ts';
import { webSocketEcho } from '../helpers/web-socket-echo.ts';

/** Upgrades take seconds where the machine stands still now and then. */
const test: typeof testWith = (name, body, options) => testWith(name, body, { deadline: 60_000, ...options });

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-clients-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string): string => join(directory, name);

async function listening(server: http.Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterAll(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a response is made of while upgrades go on; known at its end. */
const download = { stream: new KnownStream(3), stop: false };
const web = await listening(
  http.createServer((request, response) => {
    if (request.method === 'PUT') {
      const hash = createHash('sha256');
      request.on('data', (part: Buffer) => hash.update(part)).on('end', () => response.end(hash.digest('hex')));
      return;
    }
    const more = (): void => {
      while (!download.stop) if (!response.write(download.stream.next(16_384))) return;
      response.end();
    };
    response.on('drain', more);
    more();
  }),
);
const echo = await startEcho();
const sshdPort = await freePort();
const proxy = await startProxy({
  listeners: [
    { name: 'web', backend: web },
    { name: 'echo', backend: echo.address },
    { name: 'ws', backend: await listening(webSocketEcho()) },
    { name: 'ssh', backend: `127.0.0.1:${sshdPort}` },
  ],
});
afterAll(() => proxy.stop());
const [webPort = 0, echoPort = 0, wsPort = 0, sshPort = 0] = proxy.ports;

/** What a client lives through; each time it is asked for a sign of life. */
async function upgrades(count: number, alive: () => Promise<unknown>): Promise<void> {
  for (let round = 0; round < count; round++) {
    await upgradeBySignal(proxy);
    await alive();
  }
}

/** Waits until a file that is being written has more. */
async function grows(path: string): Promise<void> {
  const size = statSync(path).size;
  while (statSync(path).size === size) await new Promise((resolve) => setTimeout(resolve, 5));
}

function started(t: TestContext, command: string, ...args: readonly string[]): Program {
  const program = startProgram(command, args);
  t.after(() => program.child.kill('SIGKILL'));
  return program;
}

const curl = ['--silent', '--show-error', '--fail', '--cacert', ecdsa.cert];

test('curl goes on with a download', async (t) => {
  const { ended } = started(t, 'curl', ...curl, '--output', file('download'), `https://localhost:${webPort}/`);
  await upgrades(2, () => grows(file('download')));
  download.stop = true;
  assert.is(await ended, 0);
  assert.is(
    createHash('sha256')
      .update(readFileSync(file('download')))
      .digest('hex'),
    download.stream.digest(),
  );
});

test('curl goes on with an upload', async (t) => {
  const program = started(t, 'curl', ...curl, '--upload-file', '-', `https://localhost:${webPort}/`);
  const stream = new KnownStream(4);
  const more = async (): Promise<void> => {
    for (let i = 0; i < 64; i++) {
      if (!program.child.stdin.write(stream.next(16_384))) await once(program.child.stdin, 'drain');
    }
  };
  await more();
  await upgrades(2, more);
  program.child.stdin.end();
  assert.is(await program.ended, 0);
  assert.is(program.output(), stream.digest());
});

test('a WebSocket goes on', async () => {
  tls.setDefaultCACertificates([readFileSync(ecdsa.cert, 'latin1')]);
  const socket = new WebSocket(`wss://localhost:${wsPort}/`);
  const closed = once(socket, 'close');
  await once(socket, 'open');
  let sent = 0;
  const say = async (): Promise<void> => {
    const answer = once(socket, 'message');
    socket.send(`message ${++sent}`);
    assert.is(((await answer) as [MessageEvent])[0].data, `message ${sent}`);
  };
  await say();
  await upgrades(2, say);
  socket.close(1000);
  assert.is(((await closed) as [CloseEvent])[0].code, 1000);
});

const connect = ['s_client', '-connect', `127.0.0.1:${echoPort}`, '-servername', 'localhost', '-CAfile', ecdsa.cert];

test('openssl s_client goes on, and changes its keys and ours', async (t) => {
  const program = started(t, 'openssl', ...connect, '-tls1_3');
  let said = 0;
  const say = async (): Promise<void> => {
    program.say(`line ${++said}\n`);
    await program.hear(`line ${said}\n`);
  };
  await say();
  await upgrades(1, async () => {
    await say();
    for (const command of ['k', 'K']) {
      program.say(`${command}\n`);
      await program.hear('KEYUPDATE\n');
      await say();
    }
  });
  program.say('Q\n');
  assert.is(await program.ended, 0);
});

for (const version of ['1_2', '1_3']) {
  test(`openssl s_client resumes what began before, TLS ${version.replace('_', '.')}`, async (t) => {
    const visit = async (...args: readonly string[]): Promise<string> => {
      const program = started(t, 'openssl', ...connect, `-tls${version}`, ...args);
      program.say('a visit\n');
      await program.hear('a visit\n');
      program.say('Q\n');
      await program.ended;
      return program.output();
    };
    const session = file(`session-${version}`);
    assert.match(await visit('-sess_out', session), /^New, TLSv/m);
    await upgrades(1, async () => assert.match(await visit('-sess_in', session), /^Reused, TLSv/m));
  });
}

test('gnutls-cli goes on, and changes its keys', async (t) => {
  const args = ['--insecure', '--inline-commands', '--priority', 'NORMAL:-VERS-ALL:+VERS-TLS1.3'];
  const program = started(t, 'gnutls-cli', ...args, '--port', String(echoPort), '127.0.0.1');
  let said = 0;
  const say = async (): Promise<void> => {
    program.say(`line ${++said}\n`);
    await program.hear(`line ${said}\n`);
  };
  await say();
  await upgrades(1, async () => {
    await say();
    program.say('^rekey^\n');
    await program.hear('Rekey was completed');
    await say();
  });
});

const sshd = '/usr/sbin/sshd';

/** Serves our own user by a key of its own. */
async function startSshd(t: TestContext): Promise<void> {
  for (const name of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
  writeFileSync(
    file('sshd_config'),
    [
      `ListenAddress 127.0.0.1:${sshdPort}`,
      `HostKey ${file('host')}`,
      `AuthorizedKeysFile ${file('user.pub')}`,
      'PidFile none',
      'PermitRootLogin yes',
      'StrictModes no',
      'UsePAM no',
    ].join('\n'),
  );
  // As root it wants an empty directory to be locked up in.
  if (process.geteuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const server = started(t, sshd, '-D', '-e', '-f', file('sshd_config'));
  await server.hear('Server listening');
}

test(
  'ssh goes on with its shell',
  async (t) => {
    await startSshd(t);
    const proxyCommand = `openssl s_client -quiet -connect 127.0.0.1:${sshPort} -CAfile ${ecdsa.cert}`;
    const options = [
      `ProxyCommand=${proxyCommand}`,
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      `UserKnownHostsFile=${file('known_hosts')}`,
      'LogLevel=ERROR',
    ];
    const args = options.flatMap((option) => ['-o', option]);
    const program = started(
      t,
      'ssh',
      '-F',
      'none',
      ...args,
      '-i',
      file('user'),
      `${userInfo().username}@localhost`,
      'sh',
    );
    program.say('echo it is $$\n');
    await program.hear('it is ');
    await program.hear('\n');
    const shell = /it is (\d+)/.exec(program.output())?.[1];
    await upgrades(3, async () => {
      program.say('echo still $$; head -c 1000000 /dev/zero | tr "\\0" x; echo done\n');
      await program.hear(`still ${shell}\n${'x'.repeat(1_000_000)}done\n`);
    });
    program.say('exit 7\n');
    assert.is(await program.ended, 7);
  },
  { skip: missing('ssh', 'ssh-keygen', sshd) },
);
