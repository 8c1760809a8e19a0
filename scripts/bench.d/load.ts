// SPDX-License-Identifier: MIT
// The load of one measurement: a backend, clients and a visitor, each in processes of their own.
import type { BackendCalls } from './backend.ts';
import type { ClientCalls, Cut, OpenOptions } from './client.ts';
import type { Taken } from './delays.ts';
import { Helper } from './helper.ts';
import { firstDirectId, type StreamEnd } from './message-stream.ts';
import type { VisitorCalls, Visits } from './visitor.ts';

export interface LoadOptions {
  readonly idle: number;
  readonly streaming: number;
  /** Streams past the proxy. */
  readonly direct: number;
  /** Processes that the clients are spread over. */
  readonly processes: number;
  /** Bytes of a message. */
  readonly size: number;
  /** Between two messages of a stream, each way. */
  readonly intervalMs: number;
  /** Between two visits. */
  readonly visitMs: number;
}

/** Of all processes, since they were taken last. */
export interface TakenDelays {
  readonly proxied: readonly Taken[];
  readonly direct: readonly Taken[];
}

export interface StreamsEnd {
  readonly bytes: number;
  /** Streams of which not every byte came, in its order, one way or the other. */
  readonly wrong: number;
}

const firstStreamId = 1 << 29;
const arriveLimitMs = 10_000;
const arrivePollMs = 20;

export class Load {
  readonly #options: LoadOptions;
  readonly #backend = new Helper<BackendCalls>('backend.ts');
  readonly #clients: readonly Helper<ClientCalls>[];
  readonly #visitor = new Helper<VisitorCalls>('visitor.ts');
  #backendPort = 0;
  #port = 0;
  #idle = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#clients = Array.from({ length: options.processes }, () => new Helper<ClientCalls>('client.ts'));
  }

  /** Gives the backend's port. */
  async listen(): Promise<number> {
    const { size, intervalMs } = this.#options;
    this.#backendPort = await this.#backend.call('listen', { size, intervalMs });
    return this.#backendPort;
  }

  /** Opens every session at a proxy's port, and starts the streams and the visitor. */
  async open(port: number): Promise<void> {
    this.#port = port;
    const { idle, streaming, direct, intervalMs, visitMs } = this.#options;
    await this.openIdle(idle);
    await this.#open('stream', firstStreamId, streaming);
    await this.#open('direct', firstDirectId, direct);
    await Promise.all(this.#clients.map((client) => client.call('start', { intervalMs })));
    await this.#visitor.call('start', { port, pauseMs: visitMs });
  }

  /** So many more idle sessions. */
  async openIdle(count: number): Promise<void> {
    await this.#open('idle', this.#idle, count);
    this.#idle += count;
  }

  /** All idle sessions that were opened. */
  get idle(): number {
    return this.#idle;
  }
  get streamIds(): readonly number[] {
    return range(firstStreamId, this.#options.streaming);
  }
  get directIds(): readonly number[] {
    return range(firstDirectId, this.#options.direct);
  }

  async take(): Promise<TakenDelays> {
    const all = await Promise.all([this.#backend, ...this.#clients].map((helper) => helper.call('take')));
    return { proxied: all.map(({ proxied }) => proxied), direct: all.map(({ direct }) => direct) };
  }

  async cuts(): Promise<readonly Cut[]> {
    return (await Promise.all(this.#clients.map((client) => client.call('cuts')))).flat();
  }

  /** How many idle sessions still answer. */
  async ping(): Promise<number> {
    const answers = await Promise.all(this.#clients.map((client) => client.call('ping')));
    return answers.reduce((sum, each) => sum + each, 0);
  }

  /** Ends the visits. */
  visits(): Promise<Visits> {
    return this.#visitor.call('stop');
  }

  /** Stops the streams, waits until what was sent has come, and compares both ends of each. */
  async stopStreams(): Promise<StreamsEnd> {
    const both = [this.#backend, ...this.#clients];
    await Promise.all(both.map((helper) => helper.call('stop')));
    const until = performance.now() + arriveLimitMs;
    for (;;) {
      const [served = [], ...ends] = await Promise.all(both.map((helper) => helper.call('ends')));
      const atBackend = new Map(served.map((end) => [end.id, end]));
      const wrong = ends.flat().filter((end) => !isSame(end, atBackend.get(end.id)));
      if (wrong.length === 0 || performance.now() >= until) {
        return { bytes: ends.flat().reduce((sum, { sent, got }) => sum + sent + got, 0), wrong: wrong.length };
      }
      await new Promise((resolve) => setTimeout(resolve, arrivePollMs));
    }
  }

  /** Ends every session. */
  async close(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.call('close')));
  }

  async end(): Promise<void> {
    await Promise.all([this.#backend, this.#visitor, ...this.#clients].map((helper) => helper.end()));
  }

  async #open(kind: OpenOptions['kind'], firstId: number, count: number): Promise<void> {
    const port = kind === 'direct' ? this.#backendPort : this.#port;
    const all = range(firstId, count);
    await Promise.all(
      this.#clients.map((client, i) => {
        const ids = all.filter((id) => id % this.#clients.length === i);
        return client.call('open', { port, kind, ids, size: this.#options.size });
      }),
    );
  }
}

function isSame(client: StreamEnd, backend: StreamEnd | undefined): boolean {
  return client.sentHash === backend?.gotHash && client.gotHash === backend.sentHash;
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}
