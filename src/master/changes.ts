// SPDX-License-Identifier: MIT
// What a reload changes, in the words of the configuration file.
import type { CertificateFiles, Config, ListenerConfig } from '../config/config.ts';

export interface Changes {
  /** Listeners by name. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly { readonly name: string; readonly keys: readonly string[] }[];
  /** Top-level keys that hold from now on. */
  readonly settings: readonly string[];
  /** Top-level keys that hold from the next start of a worker or of the service on. */
  readonly later: readonly string[];
  /** Certificate files that hold something else. */
  readonly certificates: readonly string[];
}

const listenerKeys: Readonly<Record<Exclude<keyof ListenerConfig, 'name'>, string>> = {
  addresses: 'listen',
  v6Only: 'v6_only',
  backend: 'backend',
  certificates: 'certificates',
  proxyProtocol: 'proxy_protocol',
  onTruncation: 'on_truncation',
  offload: 'offload',
  offloadAfter: 'offload_after',
  minVersion: 'tls.min_version',
  maxVersion: 'tls.max_version',
  ciphers: 'tls.ciphers',
  alpn: 'tls.alpn',
  handshakeMs: 'timeouts.handshake',
  connectMs: 'timeouts.connect',
  idleMs: 'timeouts.idle',
  halfClosedMs: 'timeouts.half_closed',
};

const settingKeys = {
  maxConnections: 'max_connections',
  logLevel: 'log.level',
  logFile: 'log.file',
  drainMs: 'timeouts.drain',
  tickets: 'tls.tickets',
} as const;

const laterKeys = {
  user: 'user',
  group: 'group',
  handshakeThreads: 'threads.handshake',
  relayThreads: 'threads.relay',
  control: 'control',
} as const;

/** `renewed`: pairs of files that hold something else than before. */
export function changesOf(before: Config, after: Config, renewed: readonly CertificateFiles[]): Changes {
  const names = ({ listeners }: Config) => listeners.map(({ name }) => name);
  return {
    added: names(after).filter((name) => !names(before).includes(name)),
    removed: names(before).filter((name) => !names(after).includes(name)),
    changed: after.listeners.flatMap((listener) => {
      const old = before.listeners.find(({ name }) => name === listener.name);
      const keys = old === undefined ? [] : differing(listenerKeys, old, listener);
      return keys.length === 0 ? [] : [{ name: listener.name, keys }];
    }),
    settings: differing(settingKeys, before, after),
    later: differing(laterKeys, before, after),
    certificates: renewed.map(({ cert }) => cert),
  };
}

export function isEmpty(changes: Changes): boolean {
  return Object.values(changes).every((list: readonly unknown[]) => list.length === 0);
}

/** Names of the keys whose values are not the same. */
function differing<Options extends object>(
  names: { readonly [Key in keyof Options]?: string },
  before: Options,
  after: Options,
): readonly string[] {
  const rows = Object.entries(names) as [keyof Options, string][];
  return rows.flatMap(([key, name]) => (JSON.stringify(before[key]) === JSON.stringify(after[key]) ? [] : [name]));
}

/** `web (backend, timeouts.idle)` */
export function changedText({ changed }: Changes): string {
  return changed.map(({ name, keys }) => `${name} (${keys.join(', ')})`).join(', ');
}
