// SPDX-License-Identifier: MIT
// What the machine must have for a configuration: files, rights, ports, limits. Changes nothing.
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { type CertificateReport, type Identity, native } from '../native.ts';
import { checkCertificate, suiteComplaints } from './check-certificates.ts';
import { checkListener } from './check-listeners.ts';
import type { Config } from './config.ts';
import { connectionsFor, fileLimit, filesFor } from './defaults.ts';
import { type Complaint, type Fault, sortFaults } from './fault.ts';
import type { LoadedConfig } from './load.ts';

export interface CheckResult {
  /** Warnings too; sorted by position. */
  readonly faults: readonly Fault[];
  /** By listener, then by certificate; undefined where one can't be read. */
  readonly certificates: readonly (readonly (CertificateReport | undefined)[])[];
}

/** `ports`: also whether the addresses are free, by binding them for a moment. */
export function checkConfig(config: LoadedConfig, options: { readonly ports: boolean }): readonly Fault[] {
  return examine(config, options).faults;
}

/** The same, with what was learnt of the certificates. */
export function examine(config: LoadedConfig, options: { readonly ports: boolean }): CheckResult {
  const now = Date.now() / 1000;
  const complaints: Complaint[] = [...accountComplaints(config), ...limitComplaints(config), ...logComplaints(config)];
  const certificates = config.listeners.map((listener, index) => {
    const path = ['listeners', index];
    const checks = listener.certificates.map((files, position) =>
      checkCertificate(files, [...path, 'certificates', position], now),
    );
    const reports = checks.map(({ report }) => report);
    // the demo looks for a free port by itself
    complaints.push(
      ...checks.flatMap((check) => check.complaints),
      ...suiteComplaints(listener, reports, path),
      ...checkListener(listener, path, { ports: options.ports && !config.demo }),
    );
    return reports;
  });
  return { faults: sortFaults(complaints.map(config.locate)), certificates };
}

function accountComplaints(config: Config): Complaint[] {
  const { user, group } = config;
  if (user === undefined) return [];
  let identity: Identity;
  try {
    identity = native.lookUpIdentity({ user, ...(group === undefined ? {} : { group }) });
  } catch (error) {
    return [unknownAccount(user, group, error as NodeJS.ErrnoException)];
  }
  const uid = process.geteuid?.();
  if (uid === 0 || (uid === identity.uid && process.getegid?.() === identity.gid)) return [];
  const message = '"user" is ignored: only root can become another user';
  const hint = 'remove it, or start as root';
  return [{ severity: 'warning', code: 'ERR_CONFIG_ACCOUNT', path: ['user'], message, hint }];
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

function limitComplaints(config: Config): Complaint[] {
  const limit = fileLimit();
  const needed = filesFor(config.maxConnections);
  if (needed <= limit) return [];
  const message = `${config.maxConnections} connections need ${needed} open files, the limit is ${limit}`;
  const hint = `raise it to ${needed} (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of Docker), or take at most ${connectionsFor(limit)}`;
  return [{ code: 'ERR_CONFIG_LIMIT', path: ['max_connections'], message, hint }];
}

function logComplaints(config: Config): Complaint[] {
  const file = config.logFile;
  if (file === 'stdout' || file === 'stderr') return [];
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
