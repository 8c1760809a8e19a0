// SPDX-License-Identifier: MIT
// The configuration as the rest of ironsocket sees it: every default filled in, every path absolute, every number in one
// unit. Config is plain JSON data, so that the master can keep it in its state; only LoadedConfig knows about source text.
import type { LogLevel } from '../native.ts';

export type TlsVersion = '1.2' | '1.3';
export type ProxyProtocol = 'none' | 'v1' | 'v2';
export type OnTruncation = 'fin' | 'reset';
export type Offload = 'auto' | 'kernel' | 'userspace';
export type KernelDirections = 'both' | 'tx' | 'rx';

export interface CertificateFiles {
  /** Absolute paths of PEM files. */
  readonly cert: string;
  readonly key: string;
}

export interface ListenerConfig {
  /** Unique. */
  readonly name: string;
  /** `1.2.3.4:443`, `[::1]:443`, `*:443`, `unix:/path` (absolute), `unix:@abstract` or `systemd:NAME`. At least one, unique over all. */
  readonly addresses: readonly string[];
  readonly v6Only: boolean;
  /** `HOST:PORT`, `[v6]:PORT` or `unix:/path` (absolute). With `demo` empty: the master makes it. */
  readonly backend: string;
  /** At least one, but for `demo`, whose certificate the master makes. */
  readonly certificates: readonly CertificateFiles[];
  readonly proxyProtocol: ProxyProtocol;
  readonly onTruncation: OnTruncation;
  readonly offload: Offload;
  /** Bytes of payload that a direction of a session carries before the kernel takes it. */
  readonly offloadAfter: number;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** IANA names; empty: the default list of the handshake. */
  readonly ciphers: readonly string[];
  readonly alpn: readonly string[];
  /** Milliseconds. Idle and half-closed: 0 is never. */
  readonly handshakeMs: number;
  readonly connectMs: number;
  readonly idleMs: number;
  readonly halfClosedMs: number;
}

export interface Config {
  /** Absolute path of the file it came from; undefined: from flags. */
  readonly file?: string;
  readonly demo: boolean;
  /** Name or number. Undefined: stay who we are. */
  readonly user?: string;
  /** Name or number. Undefined: the user's own group. */
  readonly group?: string;
  readonly maxConnections: number;
  readonly handshakeThreads: number;
  readonly relayThreads: number;
  readonly logLevel: LogLevel;
  /** `stdout`, `stderr` or an absolute path. */
  readonly logFile: string;
  /** Absolute path of the control socket, or `off`. Undefined: the default place. */
  readonly control?: string;
  /** 0: sessions are ended at once. */
  readonly drainMs: number;
  readonly tickets: boolean;
  readonly listeners: readonly ListenerConfig[];
  /** 0: the AEAD limit. Only from the environment variable IRONSOCKET_TEST_KEY_UPDATE_RECORDS, for tests. */
  readonly keyUpdateRecords: number;
  /** What the kernel may carry. Only from the environment variable IRONSOCKET_TEST_KERNEL_DIRECTIONS, for tests. */
  readonly kernelDirections: KernelDirections;
}
