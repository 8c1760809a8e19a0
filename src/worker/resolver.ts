// SPDX-License-Identifier: MIT
// Backend names to addresses. Native threads never ask a resolver: they are handed numbers, again whenever these change. A name is
// looked up at start, every 30 s, and when no address of it answers, but at most once a second. Failing lookups keep what is known.
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { ListenerPlan } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { within } from '../time-limit.ts';

const refreshMs = 30_000;
const retryMs = 1_000;

interface Target {
  readonly listener: Pick<ListenerPlan, 'id' | 'name' | 'backend'>;
  readonly host: string;
  readonly port: string;
  addresses: readonly string[];
  lookedUpAt: number;
  timer: NodeJS.Timeout | undefined;
  running: boolean;
}

export interface Resolver {
  /** Addresses as known now: at once those that are numbers or paths, names once they have been looked up. */
  addresses(listener: number): readonly string[];
  /** What a backend stands for, if that is known. */
  known(backend: string): readonly string[];
  /** Looks up all names once; settles when all are done that nothing is known of, or after `limitMs`. */
  start(limitMs: number): Promise<void>;
  /** No address of the backend answers. By the listener's name: sessions of an earlier plan tell it too, whose numbers meant others. */
  failed(listener: string): void;
  close(): void;
}

export function createResolver(
  listeners: readonly Pick<ListenerPlan, 'id' | 'name' | 'backend'>[],
  onChange: (listener: number, addresses: readonly string[]) => void,
  before?: Pick<Resolver, 'known'>,
): Resolver {
  const fixed = new Map(listeners.filter(({ backend }) => isFixed(backend)).map(({ id, backend }) => [id, [backend]]));
  const targets = new Map(
    listeners
      .filter(({ id }) => !fixed.has(id))
      .map((each) => [each.id, { ...targetOf(each), addresses: before?.known(each.backend) ?? [] }]),
  );
  let closed = false;

  const refresh = async (target: Target): Promise<void> => {
    if (closed || target.running) return;
    target.running = true;
    target.lookedUpAt = performance.now();
    const found = await lookUp(target);
    target.running = false;
    if (closed) return;
    if (found.length > 0 && found.join() !== target.addresses.join()) {
      target.addresses = found;
      const { id, name, backend } = target.listener;
      log('info', 'backend_resolved', { listener: name, backend, addresses: found.join(',') });
      onChange(id, found);
    }
    schedule(target, target.addresses.length > 0 ? refreshMs : retryMs);
  };
  const schedule = (target: Target, delayMs: number): void => {
    clearTimeout(target.timer);
    target.timer = setTimeout(() => void refresh(target), delayMs);
  };

  return {
    addresses: (listener) => fixed.get(listener) ?? targets.get(listener)?.addresses ?? [],
    known: (backend) => [...targets.values()].find(({ listener }) => listener.backend === backend)?.addresses ?? [],
    start: async (limitMs) => {
      const unknown = [...targets.values()].filter(({ addresses }) => addresses.length === 0);
      const lookups = [...targets.values()].map((target) => [target, refresh(target)] as const);
      if (unknown.length === 0) return;
      const all = Promise.all(lookups.flatMap(([target, lookup]) => (unknown.includes(target) ? lookup : [])));
      await within<unknown>(all, limitMs, () => undefined);
    },
    failed: (name) => {
      const target = [...targets.values()].find(({ listener }) => listener.name === name);
      if (target === undefined || target.running) return;
      schedule(target, Math.max(0, target.lookedUpAt + retryMs - performance.now()));
    },
    close: () => {
      closed = true;
      for (const { timer } of targets.values()) clearTimeout(timer);
    },
  };
}

async function lookUp({ host, port, listener }: Target): Promise<readonly string[]> {
  try {
    const found = await lookup(host, { all: true, order: 'verbatim' });
    return [
      ...new Set(found.map(({ address, family }) => (family === 6 ? `[${address}]:${port}` : `${address}:${port}`))),
    ];
  } catch (error) {
    log('warn', 'system_error', failure(`can't resolve the backend ${listener.backend} of ${listener.name}`, error));
    return [];
  }
}

/** A path, or an address with a numeric host: native code takes it as it is. */
function isFixed(backend: string): boolean {
  return (
    backend.startsWith('unix:') || backend.startsWith('[') || isIP(backend.slice(0, backend.lastIndexOf(':'))) !== 0
  );
}

function targetOf(listener: Pick<ListenerPlan, 'id' | 'name' | 'backend'>): Target {
  const colon = listener.backend.lastIndexOf(':');
  return {
    listener,
    host: listener.backend.slice(0, colon),
    port: listener.backend.slice(colon + 1),
    addresses: [],
    lookedUpAt: 0,
    timer: undefined,
    running: false,
  };
}
