// SPDX-License-Identifier: MIT
// `ironsocket doctor` on this machine: the same in text and in JSON, without rights and in a poor container as well, and true of
// the sessions that follow.
import { type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import { text } from 'node:stream/consumers';
import * as assert from 'uvu/assert';
import type { Report } from '../../src/doctor/report.ts';
import { startBackend } from '../helpers/backends.ts';
import { cliPath, nodePath } from '../helpers/installation.ts';
import { startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { test } from '../helpers/suite.ts';
import { contentType, suites, suitesOnRequest } from '../helpers/tls-records.ts';

const deadline = 60_000;
const isRoot = process.geteuid?.() === 0;
const rootOnly = { deadline, skip: isRoot ? undefined : 'only root can make namespaces' };
const doctor = [nodePath, cliPath, 'doctor'];

async function run(command: readonly string[], options: SpawnOptions = {}): Promise<string> {
  const [program = '', ...args] = command;
  const env = { ...process.env, NO_COLOR: '1', ...options.env };
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], env });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout ?? []),
    text(child.stderr ?? []),
    once(child, 'exit'),
  ]);
  assert.equal([code, stderr], [0, ''], command.join(' '));
  return stdout;
}

async function report(options: SpawnOptions = {}, before: readonly string[] = []): Promise<Report> {
  return JSON.parse(await run([...before, ...doctor, '--json'], options));
}

const statusOf = ({ findings }: Report, id: string) => findings.find((finding) => finding.id === id)?.status;

test(
  'text and JSON say the same, verdict last',
  async () => {
    const json = await report();
    const lines = (await run(doctor))
      .trimEnd()
      .replaceAll(/\n {4}/g, ' ')
      .split('\n');
    assert.is(json.format, 1);
    assert.is(json.kernel.release, release());
    assert.is(json.openssl.linked, process.versions.openssl);
    assert.is(json.openssl.groups.X25519MLKEM768, true);
    assert.is(json.engines.length, 16, 'two versions, four ciphers, two directions');
    for (const { status, topic } of json.findings) {
      const found = lines.some((line) => new RegExp(`^ *${status} +${topic} `).test(line));
      assert.ok(found, `${status} ${topic}`);
    }
    const verdict = lines.slice(-2);
    for (const [index, { version, engine, why }] of json.verdicts.entries()) {
      const who = engine === 'userspace' ? 'in userspace: ' : 'in the kernel';
      assert.ok(verdict[index]?.startsWith(`offload: auto carries TLS ${version} ${who}`), verdict[index]);
      assert.ok(verdict[index]?.endsWith(why), verdict[index]);
    }
  },
  { deadline },
);

test(
  'colour where it is asked for only',
  async () => {
    const esc = String.fromCharCode(27);
    assert.not.ok((await run(doctor)).includes(esc));
    const { NO_COLOR: _, ...env } = process.env;
    const forced = await run(['env', '-u', 'NO_COLOR', 'FORCE_COLOR=1', ...doctor], { env });
    assert.ok(forced.includes(`${esc}[1mKernel`));
  },
  { deadline },
);

test(
  'a user without rights finds the same',
  async () => {
    const ours = await report();
    const theirs = await report({ uid: 65534, gid: 65534 });
    assert.is(theirs.surroundings.uid, 65534);
    assert.is(theirs.surroundings.mayLoadTls, false);
    assert.equal(theirs.engines, ours.engines);
    assert.equal(theirs.devices, ours.devices);
  },
  rootOnly,
);

test(
  'without /sys and most of /proc',
  async () => {
    const hidden = (directories: string) => {
      const script = `set -e; for d in ${directories}; do mount -t tmpfs none $d; done; exec "$@"`;
      return report({}, ['unshare', '--mount', 'bash', '-c', script, 'bash']);
    };
    const poor = await hidden('/sys /proc/sys /boot');
    assert.equal(poor.engines, (await report()).engines);
    assert.equal(poor.limits.pipes, { maxSize: null, userPagesSoft: null });
    assert.is(statusOf(poor, 'pipes'), 'note');
    const bare = await hidden('/sys /boot /proc');
    assert.equal([bare.limits.files.hard, bare.limits.connections], [null, null]);
    assert.is(statusOf(bare, 'files'), 'warn');
  },
  rootOnly,
);

test(
  'without a loopback: userspace, and soon',
  async () => {
    const alone = await report({}, ['unshare', '--net']);
    assert.is.not(alone.surroundings.loopback, 'ok');
    assert.is.not(alone.kernel.tls.ulp, 'ok');
    assert.equal([statusOf(alone, 'loopback'), statusOf(alone, 'kernel-tls')], ['warn', 'missing']);
    assert.ok(alone.verdicts.every(({ engine }) => engine === 'userspace'));
    // Addresses stay when the device goes: then packets are lost, and nobody answers.
    const lost = 'ip link set lo up; ip link set lo down; exec "$@"';
    const silent = await report({}, ['unshare', '--net', 'bash', '-c', lost, 'bash']);
    assert.is(statusOf(silent, 'loopback'), 'warn');
  },
  rootOnly,
);

const ciphers = {
  'aes-128-gcm': 'AES-128-GCM',
  'aes-256-gcm': 'AES-256-GCM',
  'aes-128-ccm': 'AES-128-CCM',
  'chacha20-poly1305': 'CHACHA20-POLY1305',
} as const;

test(
  'sessions have the engines that it has foretold',
  async (t) => {
    const foretold = await report();
    const backend = await startBackend();
    const chosen = [...suites, ...suitesOnRequest].filter(({ openssl }) => !openssl.includes('RSA'));
    const listener = { backend: backend.address, tls: { ciphers: chosen.map(({ name }) => name) } };
    const proxy = await startProxy({ listeners: [listener], config: { offload: 'auto' } });
    t.after(() => proxy.stop());
    for (const suite of chosen) {
      const client = await RawTlsClient.connect({ port: proxy.port, suite });
      const server = await backend.next();
      for (const round of ['one', 'two']) {
        client.send(contentType.data, Buffer.from(round));
        await server.read(3);
        server.write(Buffer.from(round));
        await client.readData(3);
      }
      client.peer.finish();
      server.finish();
      const line = await proxy.sessionEnd(client.port);
      const engineOf = (direction: 'send' | 'receive') =>
        foretold.engines.find(
          (choice) =>
            choice.version === suite.version &&
            choice.cipher === ciphers[suite.aead as keyof typeof ciphers] &&
            choice.direction === direction,
        )?.engine;
      assert.equal([line.engine_tx, line.engine_rx], [engineOf('send'), engineOf('receive')], suite.name);
    }
  },
  { deadline },
);
