// SPDX-License-Identifier: MIT
// What the machine must have for a configuration: files, rights, ports, limits. Changes nothing.
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { readIfThere } from '../doctor/modules.ts';
import { ConfigError } from '../errors.ts';
import { type CertificateReport, type KernelReport, native } from '../native.ts';
import { checkCertificate, repeatedCertificates, suiteComplaints } from './check-certificates.ts';
import { type CheckOptions, checkListener, controlComplaints } from './check-listeners.ts';
import { offloadComplaints } from './check-offload.ts';
import type { Config } from './config.ts';
import { connectionsFor, fileLimit, filesFor } from './defaults.ts';
import { type Complaint, type Fault, pathText, sortFaults } from './fault.ts';
import type { ConfigRequest } from './flags.ts';
import { type Reading, readConfig } from './load.ts';
import type { Parts } from './parts.ts';

export interface Examination {
  /** Those of the text too, and warnings; sorted by position. */
  readonly faults: readonly Fault[];
  /** By listener, then by certificate; undefined where one can't be read. */
  readonly certificates: readonly (readonly (CertificateReport | undefined)[])[];
  /** Undefined: it was not asked, as nothing depends on it. */
  readonly kernel: KernelReport | undefined;
}

export interface CheckedConfig {
  readonly config: Config;
  readonly warnings: readonly Fault[];
  readonly certificates: Examination['certificates'];
  readonly kernel: Examination['kernel'];
}

/** Throws ConfigError with every fault and warning, of the text and of the machine, when there is a fault. `starting`: see CheckOptions. */
export function checkConfig(request: ConfigRequest, options: { readonly starting: boolean }): CheckedConfig {
  const reading = readConfig(request);
  const { faults, certificates, kernel } = examine(reading, { ports: true, ...options });
  const { config } = reading;
  if (config === undefined || faults.some(({ severity }) => severity === 'fault')) throw new ConfigError(faults);
  return { config, warnings: faults, certificates, kernel };
}

/** Looks at the machine for whatever could be read, also beside faults. */
export function examine(reading: Reading, options: CheckOptions): Examination {
  const now = Date.now() / 1000;
  const { read = readIfThere } = options;
  const { parts, locate } = reading;
  const complaints: Complaint[] = [
    ...accountComplaints(parts),
    ...limitComplaints(parts),
    ...logComplaints(parts),
    ...controlComplaints(parts.control, options),
  ];
  const certificates = parts.listeners.map((listener) => {
    const checks = listener.certificates.map((pair) => checkCertificate(pair, pair.path, now));
    const reports = checks.map(({ report }) => report);
    complaints.push(
      ...checks.flatMap((check) => check.complaints),
      ...repeatedCertificates(listener.certificates),
      ...(listener.suites === undefined ? [] : suiteComplaints(listener.suites, reports, listener.path)),
      ...checkListener(listener, options),
    );
    return reports;
  });
  const kernel = probeKernel(parts, options);
  if (kernel !== undefined) complaints.push(...offloadComplaints(parts.listeners, kernel, read));
  // an address that the text has twice, or that leads back, is not blamed again for being in use
  const blamed = new Set(reading.faults.map(({ path }) => path));
  const more = complaints.filter(({ path }) => path[0] !== 'listeners' || !blamed.has(pathText(path)));
  return { faults: sortFaults([...reading.faults, ...more.map(locate)]), certificates, kernel };
}

/** Only where a listener wants to know: as root this makes the kernel load its TLS module. */
function probeKernel({ listeners }: Parts, { starting, kernel }: CheckOptions): KernelReport | undefined {
  // who starts asks for faults only, not for the summary
  const wanted = listeners.some(({ offload }) => (starting ? offload.mode === 'kernel' : offload.mode !== 'userspace'));
  return wanted ? (kernel ?? native.probeKernel()) : undefined;
}

/** User and group each beside number 0, which needs no entry, so that neither hides the other. */
function accountComplaints({ user, group, hasGroup }: Parts): Complaint[] {
  const unknown = [
    ...(user === undefined ? [] : lookUp(hasGroup ? { user, group: '0' } : { user })),
    ...(group === undefined ? [] : lookUp({ user: '0', group })),
  ];
  const readable = user !== undefined && hasGroup === (group !== undefined);
  if (unknown.length > 0 || !readable) return unknown;
  const identity = native.lookUpIdentity({ user, ...(group === undefined ? {} : { group }) });
  const uid = process.geteuid?.();
  if (uid === 0 || (uid === identity.uid && process.getegid?.() === identity.gid)) return [];
  const message = '"user" is ignored: only root can become another user';
  const hint = 'remove it, or start as root';
  return [{ severity: 'warning', code: 'ERR_CONFIG_ACCOUNT', path: ['user'], message, hint }];
}

function lookUp(account: { readonly user: string; readonly group?: string }): Complaint[] {
  try {
    native.lookUpIdentity(account);
    return [];
  } catch (error) {
    return [unknownAccount(account.user, account.group, error as NodeJS.ErrnoException)];
  }
}

function unknownAccount(user: string, group: string | undefined, error: NodeJS.ErrnoException): Complaint {
  const key = error.syscall === 'getgrnam' ? 'group' : 'user';
  const name = key === 'group' ? group : user;
  const complaint = { code: 'ERR_CONFIG_ACCOUNT', path: [key] };
  if (error.code !== 'ENOENT')
    return { ...complaint, message: `the ${key} "${name}" can not be looked up: ${error.message}` };
  // a number is good without a name, but nobody knows its group
  if (key === 'user' && /^\d+$/.test(user)) {
    return {
      ...complaint,
      message: `no user has the number ${user}, so its group is not known`,
      hint: 'give "group" too',
    };
  }
  const database = key === 'user' ? 'passwd' : 'group';
  return {
    ...complaint,
    message: `there is no ${key} "${name}" on this machine`,
    hint: `see "getent ${database}", or create it`,
  };
}

function limitComplaints({ maxConnections }: Parts): Complaint[] {
  if (maxConnections === undefined) return [];
  const limit = fileLimit();
  const needed = filesFor(maxConnections);
  if (needed <= limit) return [];
  const message = `${maxConnections} connections need ${needed} open files, the limit is ${limit}`;
  const hint = `raise it to ${needed} (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of Docker), or take at most ${connectionsFor(limit)}`;
  return [{ code: 'ERR_CONFIG_LIMIT', path: ['max_connections'], message, hint }];
}

function logComplaints({ logFile: file }: Parts): Complaint[] {
  if (file === undefined || file === 'stdout' || file === 'stderr') return [];
  const complaint = { code: 'ERR_CONFIG_LOG', path: ['log', 'file'] };
  try {
    const there = statSync(file, { throwIfNoEntry: false });
    if (there?.isDirectory()) return [{ ...complaint, message: `${file} is a directory`, hint: 'name a file in it' }];
    if (there === undefined) accessSync(dirname(file), constants.W_OK | constants.X_OK);
    else accessSync(file, constants.W_OK);
    return [];
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const message = absent ? `there is no directory ${dirname(file)}` : `${file} can not be written by this user`;
    return [
      {
        ...complaint,
        message,
        hint: absent ? 'create it, or name another file' : 'give it the rights, or name another file',
      },
    ];
  }
}
