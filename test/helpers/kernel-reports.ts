// SPDX-License-Identifier: MIT
// What kernels answer to the probe, for tests of what is made of it.
import type { KernelReport } from '../../src/native.ts';

type Keys = KernelReport['keys'][number];

const ciphers: readonly Keys['cipher'][] = ['AES-128-GCM', 'AES-256-GCM', 'AES-128-CCM', 'CHACHA20-POLY1305'];

/** A kernel with TLS, whose keys are as `change` says. */
export function kernelWith(
  change: (keys: Keys) => Partial<Keys> = () => ({}),
  rest: Partial<KernelReport> = {},
): KernelReport {
  const keys = (['1.2', '1.3'] as const).flatMap((version) =>
    ciphers.map((cipher): Keys => {
      const all: Keys = { version, cipher, tx: 'ok', rx: 'ok' };
      return { ...all, ...change(all) };
    }),
  );
  return { ulp: 'ok', keys, rekey: true, partialPoll: false, spliceWhole: true, maxPayload: true, ...rest };
}

export const newKernel = kernelWith();
/** Linux 6.1 and 6.12. */
export const kernelWithoutRekey = kernelWith(undefined, { rekey: false });
export const kernelWithoutChacha = kernelWith(({ cipher }) =>
  cipher === 'CHACHA20-POLY1305' ? { tx: 'ENOENT', rx: 'ENOENT' } : {},
);

export function kernelWithoutTls(errno: string): KernelReport {
  return kernelWith(() => ({ tx: errno, rx: errno }), { ulp: errno, rekey: false });
}
