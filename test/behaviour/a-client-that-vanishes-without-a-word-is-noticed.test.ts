// SPDX-License-Identifier: MIT
// A client behind a cable that is cut: no FIN, no RST, no answer any more. Keepalive finds an idle one; one that is owed bytes is
// found by the kernel, which gives up sending, or by the idle timeout. Runs in a network namespace of its own.
// In the kernel lab on the newest alone: keepalive is TCP's, and the time limit our own.
// In the kernel lab never one direction alone: one direction waits in each test.
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { type Backend, startBackend } from '../helpers/backends.ts';
import { engines } from '../helpers/engines.ts';
import type { LogLine } from '../helpers/log-lines.ts';
import type { Peer } from '../helpers/peer.ts';
import { freePort, type RunningProxy } from '../helpers/proxy.ts';
import { type TestContext, test } from '../helpers/suite.ts';
import { tlsConnect } from '../helpers/tls-client.ts';
import { sharedProxy } from '../helpers/variants.ts';

const inside = 'IRONSOCKET_TEST_OWN_NETWORK';
const isPossible = spawnSync('unshare', ['--net', 'true']).status === 0;
const skip = isPossible ? undefined : 'no right to make network namespaces';
if (isPossible && process.env[inside] === undefined) {
  const args = ['unshare', '--net', process.execPath, ...process.execArgv, fileURLToPath(import.meta.url)];
  process.execve?.('/usr/bin/unshare', args, { ...process.env, [inside]: '1' });
}

interface Session {
  readonly server: Peer;
  /** Waits until the client has acknowledged all that it was sent: the tickets of the handshake, for example. */
  readonly owedNothing: () => Promise<void>;
  /** From now on nothing comes from the client or gets to it. */
  readonly vanish: () => void;
  /** The session's last line of the log. */
  readonly ended: () => Promise<LogLine>;
}

const here = '192.0.2.1';
let clients = 0;

function ip(command: string): void {
  execFileSync('ip', command.split(' '));
}

/** node:tls hands it on to net.connect, though its types don't know. */
function from(localAddress: string): object {
  return { localAddress };
}

/** A session of a client with an address of its own, which has sent a line to the backend. */
async function openSession(t: TestContext, proxy: RunningProxy, port: number, backend: Backend): Promise<Session> {
  const there = `192.0.2.${10 + clients++}`;
  ip(`address add ${there}/32 dev lo`);
  const { socket } = await tlsConnect({ host: here, port, ...from(there) });
  t.after(() => socket.destroy());
  socket.write('hello\n');
  const server = await backend.next();
  assert.is((await server.read(6)).toString(), 'hello\n');
  return {
    server,
    owedNothing: async () => {
      const queued = () =>
        execFileSync('ss', ['-tnH', 'src', here, 'dst', there], { encoding: 'utf8' }).split(/\s+/)[2];
      while (queued() !== '0') await new Promise((resolve) => setTimeout(resolve, 10));
    },
    // Nobody's address: what is sent to it goes out through lo, comes back, and is dropped there; nothing can be sent from it.
    vanish: () => ip(`address delete ${there}/32 dev lo`),
    ended: () => proxy.log.waitFor({ event: 'proxy', subevent: 'client_disconnect', client_ip: there }),
  };
}

/** Prints SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT of a process's connections and makes them short. */
const shorten = `
import ctypes, os, socket, sys
pid = int(sys.argv[1])
pidfd = os.pidfd_open(pid)
for number in os.listdir(f'/proc/{pid}/fd'):
    if not os.readlink(f'/proc/{pid}/fd/{number}').startswith('socket:'): continue
    fd = ctypes.CDLL(None).syscall(438, pidfd, int(number), 0)  # pidfd_getfd
    if fd < 0: sys.exit('pidfd_getfd')
    one = socket.socket(fileno=fd)
    if one.family == socket.AF_UNIX or one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN): continue
    times = [(socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 2)]
    values = [one.getsockopt(socket.SOL_TCP, name) for name, _ in times]
    print(one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values)
    for name, value in times: one.setsockopt(socket.SOL_TCP, name, value)
`;

function retransmissions(count: number): void {
  writeFileSync('/proc/sys/net/ipv4/tcp_retries2', String(count));
}

function declare(label: string, proxy: RunningProxy, ports: readonly [number, number], backend: Backend): void {
  test(`${label}: an idle client, within two minutes`, async (t) => {
    const { server, owedNothing, vanish, ended } = await openSession(t, proxy, ports[0], backend);
    await owedNothing();
    vanish();
    const found = execFileSync('python3', ['-c', shorten, String(proxy.workerPid())], { encoding: 'utf8' });
    assert.is(found, '1 60 10 6\n1 60 10 6\n', 'on the connections to the client and to the backend');
    assert.is(await server.end, 'reset');
    assert.is((await ended()).reason, 'client_reset');
  });

  test(`${label}: a client that is owed bytes, when the kernel gives up`, async (t) => {
    const { server, vanish, ended } = await openSession(t, proxy, ports[0], backend);
    retransmissions(3);
    t.after(() => retransmissions(15));
    vanish();
    server.write(Buffer.alloc(1 << 20));
    assert.is(await server.end, 'reset');
    assert.is((await ended()).reason, 'client_reset');
  });

  test(`${label}: a client that is owed bytes, at the idle timeout`, async (t) => {
    const { server, vanish, ended } = await openSession(t, proxy, ports[1], backend);
    vanish();
    server.write(Buffer.alloc(1 << 24));
    assert.is(await server.end, 'reset');
    assert.is((await ended()).reason, 'idle_timeout');
  });
}

if (skip === undefined) {
  ip('link set lo up');
  ip(`address add ${here}/32 dev lo`);
  ip('route add 192.0.2.0/24 dev lo');
} else test('clients that vanish', () => {}, { skip });
const backend = await startBackend();
const running: [string, RunningProxy, [number, number]][] = [];
for (const engine of skip === undefined ? engines : []) {
  const ports: [number, number] = [await freePort(), await freePort()];
  // Enough for a session to begin before its client vanishes.
  const listeners = [
    { name: 'keepalive', listen: `0.0.0.0:${ports[0]}`, backend: backend.address },
    { name: 'idle', listen: `0.0.0.0:${ports[1]}`, backend: backend.address, timeouts: { idle: '4s' } },
  ];
  running.push([engine.label, await sharedProxy({ listeners }, engine), ports]);
}
for (const [label, proxy, ports] of running) declare(label, proxy, ports, backend);
