// SPDX-License-Identifier: MIT
// Every behaviour is tested with each record engine that the machine has, and with both TLS versions.
import type { Backend } from './backends.ts';
import type { Peer } from './peer.ts';
import { engines, type ProxyOptions, type RunningProxy, startProxy, versions } from './proxy.ts';
import { type RawClientOptions, RawTlsClient } from './raw-tls-client.ts';
import { afterAll } from './suite.ts';
import type { TlsVersion } from './tls-records.ts';

export interface Variant {
  /** For the name of the test. */
  readonly label: string;
  readonly version: TlsVersion;
  readonly proxy: RunningProxy;
}

/** A proxy that the tests of a file share; stopped and checked for leftovers at its end. */
export async function sharedProxy(options: ProxyOptions): Promise<RunningProxy> {
  const proxy = await startProxy(options);
  afterAll(() => proxy.stop());
  return proxy;
}

/** One proxy for each engine, and all pairs of engine and version. */
export async function variants(options: ProxyOptions, only: readonly TlsVersion[] = versions): Promise<Variant[]> {
  const all: Variant[] = [];
  for (const engine of engines) {
    const proxy = await sharedProxy(options);
    for (const version of only) all.push({ label: `TLS ${version}, ${engine} engine`, version, proxy });
  }
  return all;
}

export interface Session {
  readonly client: RawTlsClient;
  /** The backend's end. */
  readonly server: Peer;
}

/** A client with its handshake done and the backend's connection that belongs to it. */
export async function openSession(
  { proxy, version }: Variant,
  backend: Backend,
  options: RawClientOptions = {},
): Promise<Session> {
  const client = await RawTlsClient.connect({ port: proxy.port, version, ...options });
  return { client, server: await backend.next() };
}
