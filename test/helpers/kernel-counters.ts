// SPDX-License-Identifier: MIT
// Sessions that are in the kernel at the moment, as /proc/net/tls_stat has them; zeros where the kernel has no TLS.
import { engines, isKernel, tlsStat } from './engines.ts';
import { timeFactor } from './time.ts';

export interface InKernel {
  readonly rx: number;
  readonly tx: number;
}

export function inKernel(): InKernel {
  if (!engines.some(isKernel)) return { rx: 0, tx: 0 };
  const { TlsCurrRxSw: rx = 0, TlsCurrTxSw: tx = 0 } = tlsStat();
  return { rx, tx };
}

/** Waits until as many are there as `expected` says. */
export async function inKernelAgain(expected: InKernel): Promise<void> {
  const until = performance.now() + 5_000 * timeFactor;
  for (;;) {
    const { rx, tx } = inKernel();
    if (rx === expected.rx && tx === expected.tx) return;
    if (performance.now() > until)
      throw new Error(`the kernel has ${rx} rx and ${tx} tx sessions, not ${expected.rx} and ${expected.tx}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
