// SPDX-License-Identifier: MIT
// What is measured side by side: for each job what it does to one proxy, and which figures come of it.
import { readFileSync } from 'node:fs';
import type { Contender } from './contenders.ts';
import { type Backend, IdleClients, runJob, type Spent } from './load-program.ts';
import { proportionalBytes } from './processes.ts';
import { wait } from './running.ts';
import type { Served } from './subject.ts';
import { countCalls } from './system-calls.ts';

/** Of one run; which there are, `rows` has. */
export type Figures = Readonly<Record<string, number>>;

export interface Sizes {
  /** Of each measurement. */
  readonly seconds: number;
  /** Of all streams together. */
  readonly bulkMiB: number;
  /** Idle connections. */
  readonly idle: number;
}

export interface Around {
  readonly backend: Backend;
  readonly backendPort: number;
  readonly sizes: Sizes;
}

export interface Job {
  readonly name: string;
  /** Done only when it is named. */
  readonly asked?: true;
  /** On one that serves already. */
  measure?(served: Served, around: Around): Promise<Figures>;
  /** On one that it starts itself. */
  measureFresh?(contender: Contender, around: Around): Promise<Figures>;
}

export interface Row {
  readonly key: string;
  readonly text: string;
  readonly unit: string;
  readonly job: string;
  /** Ours is to be at most so much of the best peer's. */
  readonly ratioGoal?: number;
  /** Ours is to be below this. */
  readonly goal?: number;
  /** Nothing that has a best: it helps to read other rows. */
  readonly aside?: true;
}

const ns = { ms: 1e6, us: 1e3, s: 1e9 };

export const rows: readonly Row[] = [
  { key: 'handshake', text: 'CPU, connection with a full handshake', unit: 'ms', job: 'handshakes', ratioGoal: 1 },
  { key: 'request', text: 'CPU, keep-alive request', unit: 'us', job: 'requests', ratioGoal: 1 },
  { key: 'down', text: 'CPU, GiB to clients', unit: 's', job: 'down', ratioGoal: 0.8 },
  { key: 'up', text: 'CPU, GiB from clients', unit: 's', job: 'up', ratioGoal: 0.8 },
  { key: 'idle', text: 'memory, idle connection', unit: 'KiB', job: 'memory', goal: 1 },
  { key: 'start', text: 'memory, at start', unit: 'MiB', job: 'memory' },
  { key: 'p99', text: 'keep-alive request, p99', unit: 'us', job: 'latency' },
  { key: 'p99flood', text: 'the same beside a handshake flood, p99', unit: 'us', job: 'latency' },
  { key: 'flood', text: 'handshakes a second in that flood', unit: '/s', job: 'latency', aside: true },
  { key: 'requestCalls', text: 'system calls, keep-alive request', unit: '', job: 'syscalls' },
  { key: 'downCalls', text: 'system calls, GiB to clients', unit: 'thousands', job: 'syscalls' },
  { key: 'upCalls', text: 'system calls, GiB from clients', unit: 'thousands', job: 'syscalls' },
  { key: 'kernelSends', text: 'streams that the kernel encrypts', unit: '', job: 'down', aside: true },
  { key: 'kernelTakes', text: 'streams that the kernel decrypts', unit: '', job: 'up', aside: true },
  { key: 'handshakeRate', text: 'handshakes a second', unit: '/s', job: 'handshakes', aside: true },
  { key: 'tickets', text: 'tickets that a handshake gives', unit: '', job: 'handshakes', aside: true },
  { key: 'requestRate', text: 'keep-alive requests a second', unit: '/s', job: 'requests', aside: true },
  { key: 'downRate', text: 'MiB a second to clients', unit: '/s', job: 'down', aside: true },
  { key: 'upRate', text: 'MiB a second from clients', unit: '/s', job: 'up', aside: true },
  { key: 'handshakeBusy', text: 'its core busy: handshakes', unit: '%', job: 'handshakes', aside: true },
  { key: 'requestBusy', text: 'its core busy: requests', unit: '%', job: 'requests', aside: true },
  { key: 'downBusy', text: 'its core busy: to clients', unit: '%', job: 'down', aside: true },
  { key: 'upBusy', text: 'its core busy: from clients', unit: '%', job: 'up', aside: true },
];

const handshakeConnections = 32;
const requestConnections = 64;
const streams = 8;
const probe = { connections: 16, rate: 1000 };

export const jobs: readonly Job[] = [
  {
    name: 'handshakes',
    async measure(served, { sizes: { seconds } }) {
      const spent = await runJob('handshakes', { ...of(served), connections: handshakeConnections, seconds });
      return {
        handshake: each(spent, ns.ms),
        handshakeRate: rate(spent),
        tickets: Math.round(spent.tickets / spent.count),
        handshakeBusy: busy(spent),
      };
    },
  },
  {
    name: 'requests',
    async measure(served, { sizes: { seconds } }) {
      const spent = await runJob('requests', { ...of(served), connections: requestConnections, seconds });
      return { request: each(spent, ns.us), requestRate: rate(spent), requestBusy: busy(spent) };
    },
  },
  {
    name: 'down',
    async measure(served, around) {
      const before = kernelSides();
      const spent = await bulk('down', served, around);
      return {
        ...kernelGrowth('kernelSends', 'sends', before),
        down: each(spent, ns.s) * 2 ** 30,
        downRate: rate(spent) / 2 ** 20,
        downBusy: busy(spent),
      };
    },
  },
  {
    name: 'up',
    async measure(served, around) {
      const before = kernelSides();
      const spent = await bulk('up', served, around);
      return {
        ...kernelGrowth('kernelTakes', 'takes', before),
        up: each(spent, ns.s) * 2 ** 30,
        upRate: rate(spent) / 2 ** 20,
        upBusy: busy(spent),
      };
    },
  },
  { name: 'latency', measure: latency },
  { name: 'memory', measureFresh: memory },
  { name: 'syscalls', asked: true, measure: systemCalls },
];

function of(served: Served) {
  return { port: served.port, pids: served.pids() };
}

function bulk(job: 'down' | 'up', served: Served, { sizes }: Around): Promise<Spent> {
  return runJob(job, { ...of(served), connections: streams, bytes: Math.ceil((sizes.bulkMiB * 2 ** 20) / streams) });
}

function each({ cpuNs, count }: Spent, unit: number): number {
  return cpuNs / count / unit;
}

function rate({ count, seconds }: Spent): number {
  return count / seconds;
}

function busy({ cpuNs, seconds }: Spent): number {
  return (100 * cpuNs) / 1e9 / seconds;
}

/** Counting costs time, so that no time is measured meanwhile. The handshakes are counted, too, and too few to matter. */
async function systemCalls(served: Served, around: Around): Promise<Figures> {
  const { seconds, bulkMiB } = around.sizes;
  const part = { ...around, sizes: { ...around.sizes, bulkMiB: bulkMiB / 4 } };
  const options = { port: served.port, connections: requestConnections, seconds, warm: 0 };
  const pids = served.pids();
  const requests = await countCalls(pids, () => runJob('requests', options));
  const down = await countCalls(pids, () => bulk('down', served, part));
  const up = await countCalls(pids, () => bulk('up', served, part));
  const thousandsPerGiB = (counted: { readonly calls: number; readonly result: Spent }) =>
    (counted.calls / counted.result.count / 1000) * 2 ** 30;
  return {
    requestCalls: requests.calls / requests.result.count,
    downCalls: thousandsPerGiB(down),
    upCalls: thousandsPerGiB(up),
  };
}

/** How many connections the kernel has taken so far, each way; nothing where it has no TLS. */
function kernelSides(): { readonly sends: number; readonly takes: number } | undefined {
  try {
    const text = readFileSync('/proc/net/tls_stat', 'latin1');
    const value = (name: string) => Number(new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
    return { sends: value('TlsTxSw') + value('TlsTxDevice'), takes: value('TlsRxSw') + value('TlsRxDevice') };
  } catch {
    return undefined;
  }
}

function kernelGrowth(key: string, side: 'sends' | 'takes', before: ReturnType<typeof kernelSides>): Figures {
  const now = kernelSides();
  return now === undefined || before === undefined ? {} : { [key]: now[side] - before[side] };
}

/** The probe and the backend come first on their core, the flood comes last: what the probe waits for is the proxy. */
async function latency(served: Served, { backend, sizes: { seconds } }: Around): Promise<Figures> {
  backend.setTurn('first');
  try {
    const options = { ...of(served), ...probe, seconds };
    const alone = await runJob('latency', options, 'first');
    const flooding = runJob(
      'handshakes',
      { ...of(served), connections: handshakeConnections, seconds: seconds + 1.5 },
      'last',
    );
    flooding.catch(() => {});
    await wait(500);
    const beside = await runJob('latency', options, 'first');
    return { p99: alone.p99, p99flood: beside.p99, flood: rate(await flooding) };
  } finally {
    backend.setTurn('usual');
  }
}

/** Growth per connection is that from a few connections to many, so that what is made once for all of them is not in it. */
async function memory(contender: Contender, { backendPort, sizes: { idle } }: Around): Promise<Figures> {
  const served = await contender.start(backendPort);
  const clients = new IdleClients({ port: served.port });
  try {
    const start = await settledBytes(served);
    await clients.open(Math.ceil(idle / 10));
    const few = await settledBytes(served);
    await clients.open(idle);
    const many = await settledBytes(served);
    await clients.ask();
    return { start: start / 2 ** 20, idle: (many - few) / idle / 1024 };
  } finally {
    await clients.end();
    await served.stop();
  }
}

/** Once it has stood still for a moment, or for as long as that is worth waiting for. */
async function settledBytes(served: Served): Promise<number> {
  let last = 0;
  for (let same = 0, i = 0; same < 4 && i < 20; i++) {
    await wait(150);
    const now = proportionalBytes(served.pids());
    if (now === undefined) throw new Error('its memory is not for us to see');
    same = now === last ? same + 1 : 0;
    last = now;
  }
  return last;
}
