// SPDX-License-Identifier: MIT
// Every behaviour is tested with each record engine that the machine has, and with both TLS versions. Where an engine is asked
// for, another one must not do its work unnoticed: the log and the kernel's own counters are looked at when a proxy has ended.
import type { Backend } from './backends.ts';
import { type Engine, type EngineKind, engines, isKernel, kernelRekeys, tlsStat } from './engines.ts';
import type { LogLine } from './log-lines.ts';
import type { Peer } from './peer.ts';
import { type ProxyOptions, type RunningProxy, startProxy, versions } from './proxy.ts';
import { glued, type RawClientOptions, RawTlsClient } from './raw-tls-client.ts';
import { afterAll, beforeTests } from './suite.ts';
import type { TlsVersion } from './tls-records.ts';

export interface Variant {
  /** For the name of the test. */
  readonly label: string;
  readonly version: TlsVersion;
  readonly proxy: RunningProxy;
  readonly engine: Engine;
  /** What carries the direction from the client, and to it. */
  readonly rx: EngineKind;
  readonly tx: EngineKind;
  /** By direction: whether its keys can be followed to the next generation (RFC 8446 section 7.2). */
  readonly rekeys: { readonly rx: boolean; readonly tx: boolean };
}

const directions = ['rx', 'tx'] as const;
/** Sessions of the kernel engine by direction, as the log tells. */
const promoted = { rx: 0, tx: 0 };
/** Before the first proxy with the kernel engine has started, and when the last one had. */
let statBefore: ReturnType<typeof tlsStat> | undefined;
let statStarted: ReturnType<typeof tlsStat> = {};

/** A proxy that the tests of a file share, by default with the first engine; stopped and checked for leftovers at its end. */
export async function sharedProxy(options: ProxyOptions, engine = engines[0] as Engine): Promise<RunningProxy> {
  beforeTests('sharedProxy');
  if (isKernel(engine) && statBefore === undefined) {
    statBefore = tlsStat();
    afterAll(checkCounters);
  }
  const proxy = await startProxy(withEngine(options, engine));
  // Its probe of the kernel counts as well.
  if (isKernel(engine)) statStarted = tlsStat();
  afterAll(async () => {
    await proxy.stop();
    for (const line of proxy.log.all({ event: 'proxy', subevent: 'client_disconnect' })) checkSession(line, engine);
  });
  return proxy;
}

/** The options of a proxy, such that its sessions have this engine. */
export function withEngine(options: ProxyOptions, engine: Engine): ProxyOptions {
  const config = { ...options.config, offload: isKernel(engine) ? 'kernel' : 'userspace' };
  return { ...options, config, env: { ...options.env, ...engine.env } };
}

/** One proxy for each engine. */
export async function proxies(options: ProxyOptions): Promise<{ engine: Engine; proxy: RunningProxy }[]> {
  const all: { engine: Engine; proxy: RunningProxy }[] = [];
  for (const engine of engines) all.push({ engine, proxy: await sharedProxy(options, engine) });
  return all;
}

/** One proxy for each engine, and all pairs of engine and version. */
export async function variants(options: ProxyOptions, only: readonly TlsVersion[] = versions): Promise<Variant[]> {
  const all = await proxies(options);
  return all.flatMap(({ engine, proxy }) => only.map((version) => variantOf(proxy, engine, version)));
}

export function variantOf(proxy: RunningProxy, engine: Engine, version: TlsVersion): Variant {
  const { rx, tx } = engine;
  const rekeys = { rx: rx === 'userspace' || kernelRekeys, tx: tx === 'userspace' || kernelRekeys };
  return { label: `TLS ${version}, ${engine.label}`, version, proxy, engine, rx, tx, rekeys };
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

function checkSession(line: LogLine, engine: Engine): void {
  for (const direction of directions) {
    const had = line[`engine_${direction}`];
    if (had === 'kernel') promoted[direction]++;
    if (had === engine[direction] || (engine[direction] === 'kernel' && mayStay(direction, line))) continue;
    throw new Error(`${engine.label}: a session with ${direction} by ${had}: ${JSON.stringify(line)}`);
  }
}

/** Why the kernel could not be given a direction, by the session's own doing. */
function mayStay(direction: 'rx' | 'tx', line: LogLine): boolean {
  const reason = line[`engine_reason_${direction}`] ?? line.engine_reason ?? '';
  // RFC 6066: how long records are is the kernel's own choice before TLS_TX_MAX_PAYLOAD_LEN.
  if (direction === 'tx') return reason === 'the client asked for short records';
  // Bytes had come with the handshake and were not read before the session ended (its backend did not answer), or all that the
  // client ever said had come with it.
  const early = line.bytes_from_client === '0' || glued.has(line.client_port ?? '');
  return reason === 'no record boundary was reached' && early;
}

/** The kernel must have seen every session that the log gives to it, and have let go of all. */
async function checkCounters(): Promise<void> {
  const now = tlsStat();
  for (const direction of ['Rx', 'Tx'] as const) {
    const name = `Tls${direction}Sw`;
    const grown = (now[name] ?? 0) - (statStarted[name] ?? 0);
    const said = promoted[direction === 'Rx' ? 'rx' : 'tx'];
    if (grown < said) throw new Error(`the log tells of ${said} sessions in the kernel, ${name} of ${grown}`);
    const current = `TlsCurr${direction}Sw`;
    if (now[current] !== statBefore?.[current])
      throw new Error(`${current} was ${statBefore?.[current]}, is ${now[current]} after all proxies have ended`);
  }
}
