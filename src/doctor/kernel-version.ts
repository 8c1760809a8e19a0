// SPDX-License-Identifier: MIT
// Which kernel this is in upstream's numbers, and which known faults of kernel TLS its number says are still in it. A hint, no
// proof: vendors take fixes back without changing the number.

export interface UpstreamVersion {
  /** Such as `6.12`. */
  readonly series: string;
  /** Undefined where a vendor's release does not tell it, such as 6.8.0-45-generic. */
  readonly patch: number | undefined;
}

export interface KernelFault {
  /** A CVE number, or a name of ours where there is none. */
  readonly id: string;
  readonly what: string;
  /** By series the first release without it. */
  readonly fixed: Readonly<Record<string, number>>;
}

/** Names of the vendors' places that tell upstream's number, most exact first. */
export interface KernelName {
  /** uname -r */
  readonly release: string;
  /** uname -v */
  readonly version: string;
  /** /proc/version_signature, which Ubuntu has. */
  readonly signature: string | undefined;
}

/** The last known faults of kernel TLS are fixed from these releases of their series on. */
export const kernelFloors: Readonly<Record<string, number>> = { '6.1': 191, '6.12': 117, '6.18': 45, '7.1': 9 };
const oldestTested = '6.1';
const newestListed = '7.1';

// Debian's changelogs of linux 6.1.192-2 and 6.12.107-1, kernel.org's of 6.12.117, 6.18.45 and 7.1.9.
export const kernelFaults: readonly KernelFault[] = [
  { id: 'CVE-2025-37756', what: 'use after free after a disconnect', fixed: { '6.1': 135, '6.12': 24 } },
  { id: 'CVE-2025-38018', what: 'panic when a page can not be had', fixed: { '6.1': 140, '6.12': 30 } },
  { id: 'CVE-2025-38471', what: 'stale receive queue', fixed: { '6.1': 147, '6.12': 40 } },
  { id: 'CVE-2025-38616', what: 'data taken from under the receiver', fixed: { '6.1': 185, '6.12': 43 } },
  { id: 'CVE-2025-39682', what: 'empty records, known to be exploited', fixed: { '6.1': 149, '6.12': 44 } },
  { id: 'CVE-2025-39946', what: 'forged record headers overflow a buffer', fixed: { '6.1': 154, '6.12': 49 } },
  { id: 'CVE-2025-40176', what: 'use after free in asynchronous encryption', fixed: { '6.1': 158, '6.12': 55 } },
  { id: 'CVE-2026-23240', what: 'work that runs after close', fixed: { '6.12': 75 } },
  { id: 'CVE-2026-23414', what: 'memory kept by asynchronous decryption', fixed: { '6.1': 168, '6.12': 80 } },
  { id: 'CVE-2026-31431', what: 'page cache written through splice and AF_ALG', fixed: { '6.1': 170 } },
  { id: 'CVE-2026-52974', what: 'memory kept by cut records', fixed: { '6.1': 175, '6.12': 91 } },
  { id: 'lost error', what: 'an error is lost after data', fixed: { '6.1': 184, '6.12': 105 } },
  { id: 'lost splice', what: 'spliced bytes lost in a full pipe', fixed: { '6.1': 189, '6.12': 117 } },
  {
    id: 'CVE-2026-74611',
    what: 'write past a buffer, with an option that ironsocket never sets',
    fixed: { '6.1': 191, '6.18': 45, '7.1': 9 },
  },
];

export type KernelJudgement =
  /** The number says that every known fault is fixed. */
  | { readonly kind: 'fine' }
  | { readonly kind: 'below'; readonly floor: string; readonly faults: readonly KernelFault[] }
  /** A vendor's number, the patch level is not in it. */
  | { readonly kind: 'untold'; readonly floor: string | undefined }
  /** A series between the listed ones, for which upstream has ended its fixes or none are known to us. */
  | { readonly kind: 'unlisted' }
  /** Older than what ironsocket is tested on. */
  | { readonly kind: 'old' };

/** Undefined where not even the series can be read. */
export function upstreamVersion({ release, version, signature }: KernelName): UpstreamVersion | undefined {
  const told = /\b(\d+\.\d+)\.(\d+)\s*$/.exec(signature ?? '') ?? /\bDebian (\d+\.\d+)\.(\d+)-/.exec(version);
  if (told !== null) return { series: told[1] ?? '', patch: Number(told[2]) };
  const [, series, patch = '0', rest = ''] = /^(\d+\.\d+)(?:\.(\d+))?(.*)$/.exec(release) ?? [];
  if (series === undefined) return undefined;
  const vendor = patch === '0' && /^-\d/.test(rest);
  return { series, patch: vendor ? undefined : Number(patch) };
}

export function judgeKernel({ series, patch }: UpstreamVersion): KernelJudgement {
  if (compareSeries(series, oldestTested) < 0) return { kind: 'old' };
  if (compareSeries(series, newestListed) > 0) return { kind: 'fine' };
  const floor = kernelFloors[series];
  if (patch === undefined) return { kind: 'untold', floor: floor === undefined ? undefined : `${series}.${floor}` };
  if (floor === undefined) return { kind: 'unlisted' };
  if (patch >= floor) return { kind: 'fine' };
  const faults = kernelFaults.filter(({ fixed }) => patch < (fixed[series] ?? 0));
  return { kind: 'below', floor: `${series}.${floor}`, faults };
}

function compareSeries(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split('.').map(Number);
  const [majorB = 0, minorB = 0] = b.split('.').map(Number);
  return majorA - majorB || minorA - minorB;
}
