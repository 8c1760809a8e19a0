// SPDX-License-Identifier: MIT
// Which engine sessions get on a kernel: for people, before there is a session. native/record/offload.h decides for each.
import type { KernelReport } from '../native.ts';
import type { ListenerConfig, TlsVersion } from './config.ts';
import { type Cipher, offeredCiphers, offeredVersions } from './suites.ts';

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
  if (offload === 'userspace' || kernel === undefined) return userspace('offload: userspace');
  if (unix === addresses.length) return userspace('unix sockets have no kernel TLS');
  if (kernel.ulp !== 'ok') return userspace(`no kernel TLS: ${kernel.ulp}`);
  if (offload === 'auto' && version === '1.3' && !kernel.rekey) return userspace("the kernel can't rekey TLS 1.3");
  const missing = missingKeys(kernel, version, ciphers);
  if (missing.length === 0 && unix === 0) return { version, engine: 'kernel' };
  const names = missing.map(({ cipher }) => cipher).join(', ');
  const reason = missing.length === 0 ? 'unix sockets have no kernel TLS' : `the kernel can't carry ${names}`;
  const none =
    missing.length === offeredCiphers(version, ciphers).length &&
    missing.every(({ tx, rx }) => tx !== 'ok' && rx !== 'ok');
  return { version, engine: none ? 'userspace' : 'mixed', reason };
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

/** What sessions of a version get over several listeners; undefined: none offers it. */
export function engineOf(choices: readonly EngineChoice[], version: TlsVersion): EngineChoice['engine'] | undefined {
  const [first, ...others] = choices.flatMap((choice) => (choice.version === version ? choice.engine : []));
  return others.every((engine) => engine === first) ? first : 'mixed';
}

/** Each reason once; undefined: all is the kernel's. */
export function reasonsOf(choices: readonly EngineChoice[]): string | undefined {
  const reasons = new Set(choices.flatMap(({ reason }) => reason ?? []));
  return reasons.size === 0 ? undefined : [...reasons].join('; ');
}
