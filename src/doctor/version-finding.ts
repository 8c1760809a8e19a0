// SPDX-License-Identifier: MIT
// What the number of the kernel says about known faults.
import type { Facts } from './facts.ts';
import type { Finding } from './finding.ts';
import { judgeKernel, type KernelFault, kernelFloors } from './kernel-version.ts';

const hint = 'the number is only a hint, since vendors take fixes back without changing it';
const orUserspace = 'or set `offload: userspace`';

/** Known faults are a warning only where there is kernel TLS. */
export function versionFinding({ kernel, upstream, probe }: Facts): Finding {
  const number = upstream?.patch === undefined ? undefined : `${upstream.series}.${upstream.patch}`;
  const exact = number === undefined || kernel.release.startsWith(number);
  const text = exact ? kernel.release : `${kernel.release}, upstream's ${number}`;
  const found = { id: 'kernel-version', section: 'kernel', topic: 'version', text } as const;
  const matters = probe.ulp === 'ok';
  const status = matters ? 'warn' : 'note';
  const judgement = upstream === undefined ? ({ kind: 'untold', floor: undefined } as const) : judgeKernel(upstream);
  switch (judgement.kind) {
    case 'fine':
      return { ...found, status: 'ok' };
    case 'old':
      return {
        ...found,
        status: 'warn',
        text: `${text}, older than 6.1`,
        meaning: 'ironsocket is not tested on it.',
        action: `Use Linux 6.1 or newer, ${orUserspace}.`,
      };
    case 'untold':
      return {
        ...found,
        status: 'note',
        meaning: `The release does not tell the patch level, so known faults can't be ruled out${judgement.floor === undefined ? '' : `; upstream has fixed them in ${judgement.floor}`}.`,
        action: "Keep it up to date, and look for kernel TLS in your vendor's security notices.",
      };
    case 'unlisted':
      return {
        ...found,
        status,
        text: `${text}, a series without known fixes`,
        meaning: `Faults of kernel TLS, CVE-2026-74611 the latest, are known to be fixed in ${floors()}; ${hint}.`,
        ...(matters ? { action: `Use one of these or a newer series, or ask your vendor, ${orUserspace}.` } : {}),
      };
    case 'below':
      return {
        ...found,
        status,
        text: `${text}, below ${judgement.floor}`,
        meaning: `Fixed since: ${faultNames(judgement.faults)}; ${hint}${matters ? '' : ', and without kernel TLS it does not matter'}.`,
        ...(matters
          ? { action: `Update the kernel, or ask your vendor which of these are fixed, ${orUserspace}.` }
          : {}),
      };
  }
}

function faultNames(faults: readonly KernelFault[]): string {
  return faults.map(({ id, what }) => (id.startsWith('CVE') ? `${id} (${what})` : what)).join(', ');
}

function floors(): string {
  return Object.entries(kernelFloors)
    .map(([series, patch]) => `${series}.${patch}`)
    .join(', ');
}
