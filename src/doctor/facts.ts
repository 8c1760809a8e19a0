// SPDX-License-Identifier: MIT
// What `ironsocket doctor` knows of the machine, before it judges anything. Every file may be missing, as in a container.
import { existsSync } from 'node:fs';
import { availableParallelism, release, version } from 'node:os';
import { createSecureContext } from 'node:tls';
import { packageVersion } from '../commands/version.ts';
import { type DeviceOffload, type KernelReport, native } from '../native.ts';
import { type KernelName, type UpstreamVersion, upstreamVersion } from './kernel-version.ts';
import { tryLoopback } from './loopback.ts';
import {
  absentFolder,
  type KernelPartName,
  type ModuleState,
  moduleStates,
  type ReadFile,
  readIfThere,
} from './modules.ts';

/** Undefined: not to be found out here. */
export interface Facts {
  readonly ironsocket: string;
  readonly kernel: KernelName;
  readonly upstream: UpstreamVersion | undefined;
  readonly modules: Readonly<Record<KernelPartName, ModuleState>>;
  /** The folder of this kernel's modules, if it is not there. */
  readonly absentModules: string | undefined;
  /** Whether the kernel lists the ULP "tls", before and after it was tried: trying can load the module. */
  readonly listed: { readonly before: boolean | undefined; readonly after: boolean | undefined };
  readonly probe: KernelReport;
  /** Or the name of the errno with which they could not be listed. */
  readonly devices: readonly DeviceOffload[] | string;
  readonly files: FileLimits;
  readonly pipes: PipeLimits;
  /** As many as are started when `threads` is left out; each has one pipe. */
  readonly relayThreads: number;
  readonly openssl: OpensslFacts;
  readonly surroundings: Surroundings;
}

export interface FileLimits {
  /** RLIMIT_NOFILE of this process; Infinity: unlimited. Node raises its own soft limit as it starts. */
  readonly soft: number | undefined;
  readonly hard: number | undefined;
  /** fs.nr_open: how far the hard limit may be raised. */
  readonly nrOpen: number | undefined;
  /** fs.file-max: of the whole system. */
  readonly fileMax: number | undefined;
}

export interface PipeLimits {
  /** fs.pipe-max-size, bytes that one pipe may be made to hold. */
  readonly maxSize: number | undefined;
  /** fs.pipe-user-pages-soft, pages in all pipes of a user without rights; 0: no limit. */
  readonly userPagesSoft: number | undefined;
}

export interface OpensslFacts {
  readonly node: string;
  /** Of Node, and of the library that the addon has found when it was loaded. */
  readonly builtIn: string;
  readonly linked: string;
  readonly groups: Readonly<Record<string, boolean>>;
}

export interface Surroundings {
  readonly uid: number;
  /** CAP_NET_ADMIN in the first user namespace: the kernel loads "tls" for such a process. */
  readonly mayLoadTls: boolean | undefined;
  readonly container: boolean;
  /** A seccomp filter is in force, which may refuse system calls. */
  readonly seccomp: boolean | undefined;
  /** `ok` or the errno of a connection to 127.0.0.1. */
  readonly loopback: string;
}

/** The TLS groups that ironsocket offers (native/handshake/context.cc). */
export const offeredGroups = ['X25519MLKEM768', 'X25519', 'P-256', 'P-384'] as const;

/** Takes some milliseconds; makes connections over the loopback. Trying the ULP as root can load the kernel's module "tls". */
export async function gatherFacts(read: ReadFile = readIfThere): Promise<Facts> {
  const kernel = { release: release(), version: version(), signature: text(read, '/proc/version_signature') };
  const before = ulpListed(read);
  const probe = native.probeKernel();
  return {
    ironsocket: packageVersion(),
    kernel,
    upstream: upstreamVersion(kernel),
    modules: moduleStates(read, kernel.release),
    absentModules: absentFolder(read, kernel.release),
    listed: { before, after: ulpListed(read) },
    probe,
    devices: devices(),
    files: fileLimits(read),
    pipes: {
      maxSize: number(read, '/proc/sys/fs/pipe-max-size'),
      userPagesSoft: number(read, '/proc/sys/fs/pipe-user-pages-soft'),
    },
    relayThreads: availableParallelism(),
    openssl: opensslFacts(),
    surroundings: { ...surroundings(read), loopback: await tryLoopback() },
  };
}

export function fileLimits(read: ReadFile): FileLimits {
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(text(read, '/proc/self/limits') ?? '') ?? [];
  const limit = (word: string | undefined) =>
    word === 'unlimited' ? Number.POSITIVE_INFINITY : word === undefined ? undefined : Number(word);
  return {
    soft: limit(soft),
    hard: limit(hard),
    nrOpen: number(read, '/proc/sys/fs/nr_open'),
    fileMax: number(read, '/proc/sys/fs/file-max'),
  };
}

export function surroundings(read: ReadFile): Omit<Surroundings, 'loopback'> {
  const status = text(read, '/proc/self/status') ?? '';
  const capabilities = /^CapEff:\s+([0-9a-f]+)/m.exec(status)?.[1];
  const netAdmin = 1n << 12n;
  const first = /^\s*0\s+0\s+4294967295\s*$/.test(text(read, '/proc/self/uid_map') ?? '0 0 4294967295');
  const seccomp = /^Seccomp:\s+(\d)/m.exec(status)?.[1];
  return {
    uid: process.getuid?.() ?? -1,
    mayLoadTls: capabilities === undefined ? undefined : first && (BigInt(`0x${capabilities}`) & netAdmin) !== 0n,
    container: process.env.container !== undefined || existsSync('/.dockerenv') || existsSync('/run/.containerenv'),
    seccomp: seccomp === undefined ? undefined : seccomp !== '0',
  };
}

function opensslFacts(): OpensslFacts {
  const groups = offeredGroups.map((group) => [group, hasGroup(group)] as const);
  return {
    node: process.versions.node,
    builtIn: process.versions.openssl ?? 'none',
    linked: native.opensslVersion(),
    groups: Object.fromEntries(groups),
  };
}

/** OpenSSL takes a list of groups only when it knows each. */
function hasGroup(ecdhCurve: string): boolean {
  try {
    createSecureContext({ ecdhCurve });
    return true;
  } catch {
    return false;
  }
}

function devices(): readonly DeviceOffload[] | string {
  try {
    return native.deviceOffloads();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error';
  }
}

function ulpListed(read: ReadFile): boolean | undefined {
  return text(read, '/proc/sys/net/ipv4/tcp_available_ulp')?.split(' ').includes('tls');
}

function text(read: ReadFile, path: string): string | undefined {
  return read(path)?.toString().trim();
}

function number(read: ReadFile, path: string): number | undefined {
  const value = text(read, path);
  return value !== undefined && /^\d+$/.test(value) ? Number(value) : undefined;
}
