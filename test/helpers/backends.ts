// SPDX-License-Identifier: MIT
// Backends for the proxy under test, in the test's own process but for the black hole.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import * as net from 'node:net';
import { Peer, type Taking } from './peer.ts';
import { afterAll } from './suite.ts';

export interface Backend {
  /** As the configuration names it. */
  readonly address: string;
  readonly port: number;
  readonly server: net.Server;
  /** The next connection that the proxy makes, in their order. */
  readonly next: () => Promise<Peer>;
  /** Connections accepted so far. */
  readonly accepted: () => number;
  /** Waits until no connection is open. */
  readonly empty: () => Promise<void>;
}

export interface BackendOptions {
  readonly path?: string;
  readonly host?: string;
  /** Called for every connection. */
  readonly onConnection?: (peer: Peer) => void;
  readonly taking?: Taking;
}

/** A backend whose connections the test answers itself. It ends with the file. */
export async function startBackend(options: BackendOptions = {}): Promise<Backend> {
  const waiting: Peer[] = [];
  const takers: ((peer: Peer) => void)[] = [];
  let accepted = 0;
  const open = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    accepted++;
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    const peer = new Peer(socket, options);
    options.onConnection?.(peer);
    const taker = takers.shift();
    if (taker !== undefined) taker(peer);
    else if (options.onConnection === undefined) waiting.push(peer);
  });
  const host = options.host ?? '127.0.0.1';
  server.listen(options.path === undefined ? { port: 0, host, backlog: 4096 } : { path: options.path });
  await once(server, 'listening');
  // The worker may be another user than the test.
  if (options.path !== undefined) chmodSync(options.path, 0o777);
  afterAll(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const port = options.path === undefined ? (server.address() as net.AddressInfo).port : 0;
  const tcp = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  return {
    address: options.path === undefined ? tcp : `unix:${options.path}`,
    port,
    server,
    accepted: () => accepted,
    empty: async () => {
      // Not events.once, which rejects when the socket is reset.
      const closed = (socket: net.Socket): Promise<void> =>
        new Promise((resolve) => socket.once('close', () => resolve()));
      while (open.size > 0) await Promise.all([...open].map(closed));
    },
    next: () => {
      const peer = waiting.shift();
      return peer !== undefined ? Promise.resolve(peer) : new Promise((resolve) => takers.push(resolve));
    },
  };
}

/** Sends back what comes, FIN included. */
export function startEcho(options: BackendOptions = {}): Promise<Backend> {
  return startBackend({
    taking: 'count',
    ...options,
    onConnection: ({ socket }) => {
      socket.pipe(socket);
    },
  });
}

/** Address of a backend that never accepts and whose queue is full: connecting to it hangs. */
export async function startBlackHole(): Promise<string> {
  return (await startSleeper()).address;
}

export interface Sleeper {
  readonly address: string;
  /** From now on it takes connections, and sends back what comes. Who waits is let in when it knocks again (SYN). */
  readonly wake: () => void;
}

/** A black hole that can be woken. */
export async function startSleeper(): Promise<Sleeper> {
  // The loop of the child stands still right after listen, so nothing is accepted.
  const script = `
    const server = require('net').createServer((socket) => socket.pipe(socket).on('error', () => {}));
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('fs').writeSync(1, String(server.address().port) + '\\n');
      process.kill(process.pid, 'SIGSTOP');
    });`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  afterAll(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  const port = Number(String(line));
  for (;;) {
    const filler = net.connect(port, '127.0.0.1');
    filler.on('error', () => {});
    afterAll(() => filler.destroy());
    const connected = await Promise.race([once(filler, 'connect').then(() => true), delay(300)]);
    if (connected !== true) return { address: `127.0.0.1:${port}`, wake: () => void child.kill('SIGCONT') };
  }
}

/** What has happened by then is told first, also to a process that has stood still meanwhile: timers come before sockets. */
function delay(ms: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => setImmediate(() => setImmediate(() => resolve(undefined))), ms));
}

/**
 * Writes what `next` gives, by default zeros, until `socket` has taken no more for half a second; the bytes it got rid of. One
 * chunk, by default of 64 KiB, still waits then.
 */
export async function push(socket: net.Socket, next = (): Buffer => Buffer.alloc(1 << 16)): Promise<number> {
  let sent = 0;
  for (;;) {
    const chunk = next();
    const taken = new Promise<boolean>((resolve) => socket.write(chunk, () => resolve(true)));
    if (await isStuck(taken)) return sent;
    sent += chunk.length;
    if (sent > 1 << 28) throw new Error('nothing holds it back');
  }
}

/** Whether half a second goes by before `taken` settles. Time in which the whole machine stands still hardly counts: nobody reads then. */
async function isStuck(taken: Promise<boolean>): Promise<boolean> {
  for (let waited = 0; waited < 500; ) {
    const since = performance.now();
    if (await Promise.race([taken, delay(20)])) return false;
    waited += Math.min(performance.now() - since, 40);
  }
  return true;
}
