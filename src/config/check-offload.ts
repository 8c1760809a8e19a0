// SPDX-License-Identifier: MIT
// Whether this kernel can do what `offload: kernel` asks of it. `auto` asks for nothing: what the kernel can't is done without it.
import type { KernelReport } from '../native.ts';
import { type Complaint, type Path, pathText } from './fault.ts';
import { type MissingKeys, missingKeys } from './offload.ts';
import type { ListenerParts } from './parts.ts';
import { type Cipher, offeredVersions } from './suites.ts';

const code = 'ERR_CONFIG_OFFLOAD';
const otherwise = 'set "offload: auto"; "ironsocket doctor" shows what this kernel can do';

/** One complaint for each place that says `kernel`; that TLS 1.3 sessions may be lost is told once. */
export function offloadComplaints(listeners: readonly ListenerParts[], kernel: KernelReport): Complaint[] {
  const asking = Map.groupBy(
    listeners.filter(({ offload }) => offload.mode === 'kernel'),
    ({ offload }) => pathText(offload.path),
  );
  const complaints = [...asking.values()].flatMap((group) => placeComplaints(group, kernel));
  const firstWarning = complaints.find(({ severity }) => severity === 'warning');
  return complaints.filter((complaint) => complaint.severity !== 'warning' || complaint === firstWarning);
}

/** All of `group` are told by the same place. */
function placeComplaints(group: readonly ListenerParts[], kernel: KernelReport): Complaint[] {
  const path = group[0]?.offload.path ?? [];
  if (kernel.ulp !== 'ok') return [noKernelTls(kernel.ulp, path)];
  const choices = group
    .flatMap(({ suites }) => suites ?? [])
    .map(({ minVersion, maxVersion, ciphers }) => {
      return { versions: offeredVersions(minVersion, maxVersion, ciphers), ciphers };
    });
  const missing = choices.flatMap(({ versions, ciphers }) =>
    versions.flatMap((version) => missingKeys(kernel, version, ciphers)),
  );
  if (missing.length > 0) return [missingCiphers(missing, path)];
  if (kernel.rekey || !choices.some(({ versions }) => versions.includes('1.3'))) return [];
  const message = 'this kernel can not renew the keys of TLS 1.3: a client that sends KeyUpdate loses its session';
  const hint = 'Linux 6.14 can; with "offload: auto" TLS 1.3 stays in userspace until then';
  return [{ severity: 'warning', code, path, message, hint }];
}

function noKernelTls(errno: string, path: Path): Complaint {
  const absent = errno === 'ENOENT';
  const message = absent
    ? 'this kernel has no TLS, or its module is not loaded'
    : `kernel TLS can not be used: ${errno}`;
  const first = absent ? 'as root, "modprobe tls" (the kernel needs CONFIG_TLS); otherwise ' : '';
  return { code, path, message, hint: `${first}${otherwise}` };
}

const modules: Readonly<Record<Cipher, string>> = {
  'AES-128-GCM': 'gcm',
  'AES-256-GCM': 'gcm',
  'AES-128-CCM': 'ccm',
  'CHACHA20-POLY1305': 'chacha20poly1305',
};

function missingCiphers(missing: readonly MissingKeys[], path: Path): Complaint {
  const texts = [...Map.groupBy(missing, ({ cipher }) => cipher)].map(([cipher, keys]) => {
    const versions = [...new Set(keys.map(({ version }) => version))].toSorted();
    const oneWay = keys.every(({ tx }) => tx === 'ok')
      ? ' from clients'
      : keys.every(({ rx }) => rx === 'ok')
        ? ' to clients'
        : '';
    return `${cipher} with TLS ${versions.join(' and ')}${oneWay}`;
  });
  const errnos = [...new Set(missing.flatMap(({ tx, rx }) => [tx, rx]))].filter((errno) => errno !== 'ok');
  const absent = missing.filter(({ tx, rx }) => tx === 'ENOENT' || rx === 'ENOENT');
  const names = [...new Set(absent.map(({ cipher }) => modules[cipher]))];
  const load = names.length === 0 ? '' : `as root, "modprobe -a ${names.join(' ')}"; or `;
  const message = `this kernel can not carry ${texts.join(', ')} (${errnos.join(', ')})`;
  return { code, path, message, hint: `${load}leave the cipher out of "ciphers"; or ${otherwise}` };
}
