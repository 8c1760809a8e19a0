// SPDX-License-Identifier: MIT
// A client behind a cable that is cut: no FIN, no RST, no answer any more. Keepalive finds an idle one; one that is owed bytes is
// found by the kernel, which gives up sending, or by the idle timeout. Runs in a network namespace of its own, as do the clients.
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { readlinkSync, writeFileSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { type Backend, startBackend } from '../helpers/backends.ts';
import { engines } from '../helpers/engines.ts';
import type { LogLine } from '../helpers/log-lines.ts';
import type { Peer } from '../helpers/peer.ts';
import { freePort, type RunningProxy } from '../helpers/proxy.ts';
import { type TestContext, test } from '../helpers/suite.ts';
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

const macs = { here: '02:00:00:00:00:01', there: '02:00:00:00:00:02', nobody: '02:00:00:00:00:ff' };
let wires = 0;

/** A session of openssl's client, which has a namespace and a wire to ours, with one line from it already at the backend. */
async function openSession(t: TestContext, proxy: RunningProxy, port: number, backend: Backend): Promise<Session> {
  const wire = `wire${wires}`;
  const [here, there] = [`192.0.2.${4 * wires + 1}`, `192.0.2.${4 * wires + 2}`];
  wires++;
  const command = `read -r go; exec openssl s_client -quiet -connect ${here}:${port}`;
  const client = spawn('unshare', ['--net', 'bash', '-c', command], { stdio: ['pipe', 'ignore', 'ignore'] });
  t.after(() => client.kill('SIGKILL'));
  await separated(client);
  const ours = (...args: string[]) => execFileSync('ip', args);
  const theirs = (...args: string[]) => execFileSync('nsenter', [`--net=/proc/${client.pid}/ns/net`, 'ip', ...args]);
  ours(...`link add ${wire} address ${macs.here} type veth peer name ${wire} netns ${client.pid}`.split(' '));
  theirs(...`link set ${wire} address ${macs.there} up`.split(' '));
  ours(...`link set ${wire} up`.split(' '));
  ours(...`address add ${here}/30 dev ${wire}`.split(' '));
  theirs(...`address add ${there}/30 dev ${wire}`.split(' '));
  const neighbours = (mac: { readonly here: string; readonly there: string }): void => {
    ours(...`neighbour replace ${there} lladdr ${mac.there} nud permanent dev ${wire}`.split(' '));
    theirs(...`neighbour replace ${here} lladdr ${mac.here} nud permanent dev ${wire}`.split(' '));
  };
  neighbours(macs);
  client.stdin.write('go\nhello\n');
  const server = await backend.next();
  assert.is((await server.read(6)).toString(), 'hello\n');
  return {
    server,
    owedNothing: async () => {
      const queued = () => execFileSync('ss', ['-tnH', 'dst', there], { encoding: 'utf8' }).split(/\s+/)[2];
      while (queued() !== '0') await new Promise((resolve) => setTimeout(resolve, 10));
    },
    vanish: () => neighbours({ here: macs.nobody, there: macs.nobody }),
    ended: () => proxy.log.waitFor({ event: 'proxy', subevent: 'client_disconnect', client_ip: there }),
  };
}

async function separated({ pid }: ChildProcessByStdio<Writable, Readable | null, null>): Promise<void> {
  const own = readlinkSync('/proc/self/ns/net');
  while (readlinkSync(`/proc/${pid}/ns/net`) === own) await new Promise((resolve) => setTimeout(resolve, 5));
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
    server.write(Buffer.alloc(1 << 20));
    assert.is(await server.end, 'reset');
    assert.is((await ended()).reason, 'idle_timeout');
  });
}

if (skip === undefined) execFileSync('ip', ['link', 'set', 'lo', 'up']);
else test('clients that vanish', () => {}, { skip });
const backend = await startBackend();
const running: [string, RunningProxy, [number, number]][] = [];
for (const engine of skip === undefined ? engines : []) {
  const ports: [number, number] = [await freePort(), await freePort()];
  const listeners = [
    { name: 'keepalive', listen: `0.0.0.0:${ports[0]}`, backend: backend.address },
    { name: 'idle', listen: `0.0.0.0:${ports[1]}`, backend: backend.address, timeouts: { idle: '1s' } },
  ];
  running.push([engine.label, await sharedProxy({ listeners }, engine), ports]);
}
for (const [label, proxy, ports] of running) declare(label, proxy, ports, backend);
