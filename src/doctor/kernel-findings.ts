// SPDX-License-Identifier: MIT
// What the kernel can and can't do for TLS, and what to do about it.
import type { KernelReport } from '../native.ts';
import type { Facts } from './facts.ts';
import type { Finding } from './finding.ts';
import { absentFolderHint, type KernelPartName, kernelParts, loadCommand, loadedAtBoot, partOf } from './modules.ts';
import { versionFinding } from './version-finding.ts';

export function kernelFindings(facts: Facts): readonly Finding[] {
  const { probe } = facts;
  const found = [versionFinding(facts), kernelTls(facts)];
  if (probe.ulp !== 'ok') return found;
  return [...found, ...ciphers(facts), rekey(probe), splice(probe), partialPoll(probe)];
}

function kernelTls(facts: Facts): Finding {
  const { probe, modules, listed } = facts;
  const found = { id: 'kernel-tls', section: 'kernel', topic: 'kernel TLS' } as const;
  if (probe.ulp === 'ok' && listed.before === false && modules.tls !== 'builtin') {
    return {
      ...found,
      status: 'warn',
      text: 'there, but loaded only by this very look',
      meaning: 'After the next boot the module "tls" is not loaded, and a process without rights can not load it.',
      action: 'Have it loaded at boot, as root:',
      command: `echo tls >> ${loadedAtBoot}`,
    };
  }
  if (probe.ulp === 'ok') return { ...found, status: 'ok', text: 'there, the ULP "tls" attaches to a socket' };
  const meaning = 'The userspace engine does the work, with the same results.';
  const missing = { ...found, status: 'missing', meaning } as const;
  if (probe.ulp !== 'ENOENT')
    return { ...missing, text: `could not be tried: ${probe.ulp}`, action: untriedAction(facts) };
  if (modules.tls === 'absent') {
    return {
      ...missing,
      status: 'note',
      text: 'not in this kernel, which is built without CONFIG_TLS',
      action: 'Nothing has to be done; for kernel TLS, run a kernel that has it.',
    };
  }
  const text = 'not loaded, and this process may not load it';
  return { ...missing, text: facts.surroundings.mayLoadTls ? 'not loaded' : text, ...loading(facts, 'tls') };
}

function untriedAction({ surroundings }: Facts): string {
  return surroundings.loopback === 'ok'
    ? 'Look for a sandbox that forbids setsockopt with TCP_ULP.'
    : 'Allow connections over the loopback, with which the kernel is tried.';
}

/** How a module gets into the kernel from here. */
function loading(
  { surroundings, modules, absentModules }: Facts,
  part: KernelPartName,
): Pick<Finding, 'action' | 'command'> {
  const { module, option } = kernelParts[part];
  if (modules[part] === 'absent') return { action: `Run a kernel with ${option}, which this one is built without.` };
  const command = loadCommand(module);
  if (absentModules !== undefined && modules[part] === 'unknown')
    return { action: `There is no ${absentModules}: ${absentFolderHint}, as root:`, command };
  return { action: `Run as root${surroundings.container ? " on the host (a container can't)" : ''}:`, command };
}

/** A finding for each part of the kernel's cryptography that is missing; what it has shows in the table. */
function ciphers(facts: Facts): readonly Finding[] {
  const parts = ['gcm', 'ccm', 'chacha20poly1305'] as const;
  return parts.flatMap((part) => {
    const refused = facts.probe.keys.filter(
      ({ cipher, tx, rx }) => partOf[cipher] === part && (tx !== 'ok' || rx !== 'ok'),
    );
    const [first] = refused;
    if (first === undefined) return [];
    const names = [...new Set(refused.map(({ cipher }) => cipher))].join(' and ');
    const error = first.tx === 'ok' ? first.rx : first.tx;
    const found = { id: `cipher-${part}`, section: 'kernel', status: 'missing', topic: 'cipher' } as const;
    const meaning = `Sessions with ${names} are carried by the userspace engine.`;
    if (error !== 'ENOENT') {
      return [
        { ...found, text: `${names}: refused, ${error}`, meaning, action: `Look for the reason in the kernel's log.` },
      ];
    }
    return [{ ...found, text: `${names}: the kernel has not got the algorithm`, meaning, ...loading(facts, part) }];
  });
}

function rekey({ rekey }: KernelReport): Finding {
  const found = { id: 'rekey', section: 'kernel', topic: 'rekey' } as const;
  if (rekey) return { ...found, status: 'ok', text: 'TLS 1.3 keys can be replaced' };
  return {
    ...found,
    status: 'note',
    text: 'TLS 1.3 keys can not be replaced',
    meaning: "A client's KeyUpdate would end a session in the kernel, so `offload: auto` leaves TLS 1.3 to userspace.",
    action: 'Nothing has to be done; Linux 6.14 and newer can.',
  };
}

function splice({ spliceWhole }: KernelReport): Finding {
  const found = { id: 'splice', section: 'kernel', topic: 'splice' } as const;
  if (spliceWhole) return { ...found, status: 'ok', text: 'loses nothing when a pipe is full' };
  return {
    ...found,
    status: 'warn',
    text: 'loses bytes when a pipe is full',
    meaning:
      "ironsocket does not splice from clients here, their bytes are copied once more; other programs' bytes may be lost.",
    action: 'Update the kernel: 6.1.189 and 6.12.117 have the fix.',
  };
}

function partialPoll({ partialPoll }: KernelReport): Finding {
  const found = { id: 'poll', section: 'kernel', topic: 'poll' } as const;
  if (!partialPoll) return { ...found, status: 'ok', text: 'wakes for whole records only' };
  return {
    ...found,
    status: 'note',
    text: 'wakes for parts of records',
    meaning: 'Slow senders cost some more wake-ups; Linux 6.12 and newer do not have this.',
  };
}
