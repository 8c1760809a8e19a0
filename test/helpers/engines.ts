// SPDX-License-Identifier: MIT
// The record engines that behaviour is tested with. IRONSOCKET_TEST_ENGINES, a list with commas, chooses among the names below;
// without it: all that this machine can run.
import { existsSync, readFileSync } from 'node:fs';

export type EngineKind = 'userspace' | 'kernel';

export interface Engine {
  /** As IRONSOCKET_TEST_ENGINES and the PROXY header have it. */
  readonly name: 'userspace' | 'kernel' | 'kernel-tx' | 'kernel-rx';
  /** For the name of a test. */
  readonly label: string;
  /** Client to proxy. */
  readonly rx: EngineKind;
  /** Proxy to client. */
  readonly tx: EngineKind;
  /** What the worker's environment must have, besides `offload` in the configuration. */
  readonly env: NodeJS.ProcessEnv;
}

const known: readonly Engine[] = [
  { name: 'userspace', label: 'userspace engine', rx: 'userspace', tx: 'userspace', env: {} },
  { name: 'kernel', label: 'kernel engine', rx: 'kernel', tx: 'kernel', env: {} },
  {
    name: 'kernel-tx',
    label: 'kernel TX only',
    rx: 'userspace',
    tx: 'kernel',
    env: { IRONSOCKET_TEST_KERNEL_DIRECTIONS: 'tx' },
  },
  {
    name: 'kernel-rx',
    label: 'kernel RX only',
    rx: 'kernel',
    tx: 'userspace',
    env: { IRONSOCKET_TEST_KERNEL_DIRECTIONS: 'rx' },
  },
];

const statFile = '/proc/net/tls_stat';
const hasKernelTls = existsSync(statFile);

export const engines: readonly Engine[] = chosen();

/** Whether this kernel can replace the keys of a TLS 1.3 socket; it counts how often exactly where it can (Linux 6.14). */
export const kernelRekeys = hasKernelTls && 'TlsRxRekeyOk' in tlsStat();

export function isKernel({ rx, tx }: Engine): boolean {
  return rx === 'kernel' || tx === 'kernel';
}

/** Counters of /proc/net/tls_stat by name. */
export function tlsStat(): Readonly<Record<string, number>> {
  const rows = [...readFileSync(statFile, 'latin1').matchAll(/^(\w+)\s+(\d+)$/gm)];
  return Object.fromEntries(rows.map(([, name = '', value]) => [name, Number(value)]));
}

function chosen(): readonly Engine[] {
  const wanted = process.env.IRONSOCKET_TEST_ENGINES?.split(',');
  if (wanted === undefined) return known.filter((engine) => !isKernel(engine) || hasKernelTls);
  return wanted.map((name) => {
    const engine = known.find((each) => each.name === name);
    if (engine === undefined) throw new Error(`IRONSOCKET_TEST_ENGINES: no engine ${name}`);
    if (isKernel(engine) && !hasKernelTls) throw new Error(`no ${statFile}: ${engine.label} can't run`);
    return engine;
  });
}
