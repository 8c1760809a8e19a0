// SPDX-License-Identifier: MIT
// What of a configuration can be read, whatever else is wrong with it. The checks that look at several values, or at the machine,
// work on it, so that all faults of a file come at once. Each part knows its path: what is left out shifts nothing.
import { resolve } from 'node:path';
import type { z } from 'zod';
import type { Offload, TlsVersion } from './config.ts';
import * as defaults from './defaults.ts';
import type { Path } from './fault.ts';
import * as schema from './schema.ts';
import type { Source } from './source.ts';
import type { Address } from './values.ts';

export interface Parts {
  readonly user: string | undefined;
  readonly group: string | undefined;
  /** Both may be there without being readable. */
  readonly hasUser: boolean;
  readonly hasGroup: boolean;
  readonly maxConnections: number | undefined;
  /** `stdout`, `stderr` or an absolute path. */
  readonly logFile: string | undefined;
  /** Absolute; undefined: `off`, left out or unreadable. */
  readonly control: string | undefined;
  readonly tls: Tls;
  /** As many as the file has. */
  readonly listeners: readonly ListenerParts[];
}

export interface ListenerParts {
  readonly path: Path;
  readonly name: string | undefined;
  readonly v6Only: boolean;
  /** With absolute paths, as the backend. */
  readonly addresses: readonly { readonly address: Address; readonly path: Path }[];
  readonly backend: Address | undefined;
  readonly certificates: readonly CertificateParts[];
  /** Whether on_truncation is `reset`. */
  readonly resets: boolean;
  /** What holds for it, and where that is written. Unreadable: `auto`, which asks for nothing. */
  readonly offload: OffloadParts;
  /** What the listener itself says. */
  readonly tls: Tls;
  /** What holds for it; undefined when a part of that can't be read. */
  readonly suites: SuiteChoice | undefined;
}

export interface OffloadParts {
  readonly mode: Offload;
  readonly path: Path;
  /** How a mode is written there: `offload: auto` or `--offload auto`. */
  readonly write: (mode: Offload) => string;
}

/** Absolute paths. */
export interface CertificateParts {
  readonly path: Path;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

export interface SuiteChoice {
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  readonly ciphers: readonly string[];
}

export type Tls = Partial<z.output<z.ZodObject<typeof schema.tlsShape>>>;

export function readParts(source: Source): Parts {
  const { value, directory } = source;
  const top = asObject(value);
  const { user, group, max_connections } = schema.configShape;
  const accounts = schema.readable({ user, group }, top);
  const connections = max_connections.safeParse(top.max_connections);
  const log = schema.configShape.log.unwrap().shape.file.safeParse(asObject(top.log).file);
  const logFile = log.data ?? 'stdout';
  return {
    user: accounts.user,
    group: accounts.group,
    hasUser: top.user !== undefined,
    hasGroup: top.group !== undefined,
    maxConnections: connections.success
      ? (connections.data ?? defaults.connectionsFor(defaults.fileLimit()))
      : undefined,
    logFile: log.success ? absoluteLog(logFile, directory) : undefined,
    control: readControl(top.control, directory),
    tls: readTls(top.tls),
    listeners: asList(top.listeners).map((listener, index) => readListener(listener, index, top, source)),
  };
}

function readControl(value: unknown, directory: string): string | undefined {
  const { data } = schema.configShape.control.safeParse(value);
  return data === undefined || data === 'off' ? undefined : absoluteControl(data, directory);
}

/** `stdout` and `stderr` are no paths. */
export function absoluteLog(file: string, directory: string): string {
  return file === 'stdout' || file === 'stderr' ? file : resolve(directory, file);
}

/** `off` is no path. */
export function absoluteControl(control: string, directory: string): string {
  return control === 'off' ? control : resolve(directory, control);
}

function readListener(
  value: unknown,
  index: number,
  top: Readonly<Record<string, unknown>>,
  source: Source,
): ListenerParts {
  const { directory } = source;
  const path: Path = ['listeners', index];
  const object = asObject(value);
  const { name, v6_only, backend, on_truncation } = schema.listenerShape;
  const parts = schema.readable({ name, v6_only, backend, on_truncation }, value);
  const listen = Array.isArray(object.listen) ? object.listen : [object.listen];
  return {
    path,
    name: parts.name,
    // unreadable: true, with which fewer addresses collide
    v6Only: parts.v6_only ?? object.v6_only !== undefined,
    addresses: listen.flatMap((item, position) => {
      const address = schema.listenAddress.safeParse(item);
      const place: Path = Array.isArray(object.listen) ? [...path, 'listen', position] : [...path, 'listen'];
      return address.success ? [{ address: absoluteAddress(address.data, directory), path: place }] : [];
    }),
    backend: parts.backend === undefined ? undefined : absoluteAddress(parts.backend, directory),
    certificates: asList(object.certificates).map((pair, position) => {
      const { cert, key } = schema.readable(schema.certificateShape, pair);
      const absolute = (file: string | undefined) => (file === undefined ? undefined : resolve(directory, file));
      return { path: [...path, 'certificates', position], cert: absolute(cert), key: absolute(key) };
    }),
    resets: parts.on_truncation === 'reset',
    tls: readTls(object.tls),
    offload: readOffload(top.offload, object.offload, path, source),
    suites: readSuites(top.tls, object.tls),
  };
}

/** As readable(), but a list with one bad item keeps the others. */
function readTls(value: unknown): Tls {
  const object = asObject(value);
  const items = <T>(list: unknown, item: z.ZodType<T>): T[] | undefined =>
    Array.isArray(list) ? list.flatMap((each) => item.safeParse(each).data ?? []) : undefined;
  const ciphers = items(object.ciphers, schema.suite);
  const alpn = items(object.alpn, schema.protocol);
  return { ...schema.readable(schema.tlsShape, value), ...(ciphers && { ciphers }), ...(alpn && { alpn }) };
}

function readOffload(top: unknown, own: unknown, path: Path, source: Source): OffloadParts {
  const mode = schema.listenerShape.offload.safeParse(own ?? top).data ?? 'auto';
  const flag = source.keyName(['offload']);
  const write = (other: Offload) => (flag.startsWith('--') ? `${flag} ${other}` : `offload: ${other}`);
  return { mode, path: own === undefined ? ['offload'] : [...path, 'offload'], write };
}

/** With a suite or a version that can't be read, whether the others fit a certificate is not known. */
function readSuites(top: unknown, own: unknown): SuiteChoice | undefined {
  const inherited = schema.configShape.tls.safeParse(top);
  const listener = schema.listenerShape.tls.safeParse(own);
  if (!inherited.success || !listener.success) return undefined;
  const { min_version = '1.2', max_version = '1.3', ciphers = [] } = { ...inherited.data, ...listener.data };
  return { minVersion: min_version, maxVersion: max_version, ciphers };
}

/** Paths of sockets start from the directory of the file; abstract names are no paths. */
export function absoluteAddress(address: Address, directory: string): Address {
  if (address.kind !== 'unix' || address.path.startsWith('@')) return address;
  return { kind: 'unix', path: resolve(directory, address.path) };
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
