// SPDX-License-Identifier: MIT
// Which engine sessions get on a kernel: for people, before there is a session. native/record/offload.h decides for each.
import type { KernelReport } from '../native.ts';
import type { ListenerConfig, TlsVersion } from './config.ts';
import { type Cipher, offeredCiphers, offeredVersions } from './suites.ts';

/** The words of ReasonText in native/record/offload.cc: what is foretold is found again in the closing lines. */
export const engineReasons = {
  configured: 'offload is userspace',
  notTcp: "the client's socket is not TCP",
  noKernelTls: 'the kernel has no TLS',
  noCipher: 'the kernel does not take this cipher',
  noRekey: "the kernel can't rekey TLS 1.3",
} as const;

/** What `offload: kernel` costs on a kernel without rekey, and what to do about it. `auto`: how that is written where it was said. */
export const noRekeyWarning = {
  message: `${engineReasons.noRekey}: a client's KeyUpdate ends its session`,
  hint: (auto: string) => `Linux 6.14 can; with "${auto}" TLS 1.3 stays in userspace until then`,
} as const;

export interface EngineChoice {
  readonly version: TlsVersion;
  /** `mixed`: it depends on the session's cipher, on its direction, or on the address it came by. */
  readonly engine: 'kernel' | 'userspace' | 'mixed';
  /** Why it is not the kernel alone. */
  readonly reason?: string;
}

/** A cipher that the kernel does not carry in some direction, with the name of an errno for each direction or `ok`. */
export interface MissingKeys {
  readonly version: TlsVersion;
  readonly cipher: Cipher;
  readonly tx: string;
  readonly rx: string;
}

/** For each TLS version that the listener offers. `kernel` undefined: not asked, as the listener does not want it. */
export function engineChoices(listener: ListenerConfig, kernel: KernelReport | undefined): readonly EngineChoice[] {
  const { minVersion, maxVersion, ciphers } = listener;
  return offeredVersions(minVersion, maxVersion, ciphers).map((version) => choose(listener, kernel, version));
}

function choose(listener: ListenerConfig, kernel: KernelReport | undefined, version: TlsVersion): EngineChoice {
  const { offload, ciphers, addresses } = listener;
  const userspace = (reason: string) => ({ version, engine: 'userspace', reason }) as const;
  const unix = addresses.filter((address) => address.startsWith('unix:')).length;
  if (offload === 'userspace' || kernel === undefined) return userspace(engineReasons.configured);
  if (unix === addresses.length) return userspace(engineReasons.notTcp);
  if (kernel.ulp !== 'ok') return userspace(noKernelTls(kernel.ulp));
  if (offload === 'auto' && version === '1.3' && !kernel.rekey) return userspace(engineReasons.noRekey);
  const missing = missingKeys(kernel, version, ciphers);
  if (missing.length === 0 && unix === 0) return { version, engine: 'kernel' };
  const names = missing.map(({ cipher }) => cipher).join(', ');
  const reason = missing.length === 0 ? engineReasons.notTcp : `${engineReasons.noCipher}: ${names}`;
  const none =
    missing.length === offeredCiphers(version, ciphers).length &&
    missing.every(({ tx, rx }) => tx !== 'ok' && rx !== 'ok');
  return { version, engine: none ? 'userspace' : 'mixed', reason };
}

/** ENOENT says no more than the words; any other errno tells of something that forbids it. */
export function noKernelTls(errno: string): string {
  return errno === 'ENOENT' ? engineReasons.noKernelTls : `${engineReasons.noKernelTls}: ${errno}`;
}

/** Whether the listener gives TLS 1.3 sessions to a kernel that can't follow a KeyUpdate. */
export function losesAtRekey(listener: ListenerConfig, kernel: KernelReport | undefined): boolean {
  if (listener.offload !== 'kernel' || kernel === undefined || kernel.rekey) return false;
  return engineChoices(listener, kernel).some(({ version, engine }) => version === '1.3' && engine !== 'userspace');
}

export function missingKeys(
  kernel: KernelReport,
  version: TlsVersion,
  configured: readonly string[],
): readonly MissingKeys[] {
  const offered = offeredCiphers(version, configured);
  return kernel.keys.filter((keys) => {
    const wanted = keys.version === version && offered.includes(keys.cipher);
    return wanted && (keys.tx !== 'ok' || keys.rx !== 'ok');
  });
}

/** Each reason once; undefined: all is the kernel's. */
export function reasonsOf(choices: readonly EngineChoice[]): string | undefined {
  const reasons = new Set(choices.flatMap(({ reason }) => reason ?? []));
  return reasons.size === 0 ? undefined : [...reasons].join('; ');
}
