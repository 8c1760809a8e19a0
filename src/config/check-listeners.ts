// SPDX-License-Identifier: MIT
// Whether the addresses of the listeners can be had: rights, ports in use, sockets of systemd, and backends that lead back.
import { accessSync, constants, lstatSync, readFileSync, statSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { dirname } from 'node:path';
import type { ReadFile } from '../doctor/modules.ts';
import { type KernelReport, native } from '../native.ts';
import type { Complaint, Path } from './fault.ts';
import { type Holder, holderOfPort, holderOfSocket } from './holder.ts';
import { covers } from './overlap.ts';
import type { ListenerParts } from './parts.ts';
import { unixOffload } from './semantics.ts';
import { type Address, addressText, canonicalHost, unixPathComplaint } from './values.ts';

const code = 'ERR_CONFIG_LISTEN';

export interface CheckOptions {
  /** Really bind, for a moment, to learn whether an address is free. */
  readonly ports: boolean;
  /** An address that another ironsocket has is a fault, since it is about to be listened on. Otherwise it is that of the running service. */
  readonly starting: boolean;
  /** Addresses whose sockets the asking service has open, so that they are not tried: they stay. */
  readonly held?: ReadonlySet<string>;
  /** Instead of asking the running one. */
  readonly kernel?: KernelReport;
  /** Instead of this machine's files, for what they tell of the kernel. */
  readonly read?: ReadFile;
}

export function checkListener(listener: ListenerParts, options: CheckOptions): Complaint[] {
  const complaints = listener.addresses.flatMap(({ address, path }) => {
    if (options.held?.has(addressText(address))) return [];
    if (address.kind === 'systemd') return systemdComplaints(address.name, path, listener);
    if (address.kind === 'unix') return options.ports ? socketComplaints(address.path, path, options) : [];
    const rights = portRights(address.port, path);
    if (rights.length > 0 || !options.ports) return rights;
    return portComplaints(address, listener.v6Only, path, options);
  });
  return [...complaints, ...loopComplaints(listener), ...unixBackendComplaints(listener)];
}

/** capabilities(7): bit of CAP_NET_BIND_SERVICE. */
const netBindService = 10n;

function portRights(port: number, path: Path): Complaint[] {
  const start = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  const capabilities = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  if (port >= start || ((BigInt(`0x${capabilities}`) >> netBindService) & 1n) === 1n) return [];
  const hint = `start as root (with "user", to give up its rights), or have systemd pass the socket (systemd:NAME), or use a port from ${start} on`;
  return [
    {
      code: 'ERR_CONFIG_RIGHTS',
      path,
      message: `port ${port} is only for those with CAP_NET_BIND_SERVICE, which this user has not`,
      hint,
    },
  ];
}

function portComplaints(
  address: Address & { readonly kind: 'tcp' },
  v6Only: boolean,
  path: Path,
  options: CheckOptions,
  again = true,
): Complaint[] {
  const text = addressText(address);
  try {
    native.closeFd({ fd: native.listen({ address: text, backlog: 1, v6Only }) });
    return [];
  } catch (error) {
    const { code: errno, message } = error as NodeJS.ErrnoException;
    if (errno === 'EADDRINUSE') {
      const holder = holderOfPort(address.port);
      // While we looked for who has it, it may have been let go: by a worker whose listener the last reload removed.
      if (holder === undefined && again) return portComplaints(address, v6Only, path, options, false);
      return [inUse(text, holder ?? true, path, options)];
    }
    if (errno === 'EADDRNOTAVAIL') {
      return [
        {
          code,
          path,
          message: `${address.host} is not an address of this machine`,
          hint: `it has ${localAddresses().join(', ')}`,
        },
      ];
    }
    if (errno === 'EAFNOSUPPORT')
      return [{ code, path, message: 'this kernel has no IPv6', hint: `use 0.0.0.0:${address.port}` }];
    return [{ code, path, message: `can not listen on ${text}: ${message}` }];
  }
}

function inUse(text: string, holder: Holder | true, path: Path, { starting }: CheckOptions): Complaint {
  if (holder !== true && holder.own) {
    const message = `${text} is in use by ironsocket itself (pid ${holder.pid})`;
    if (starting) return { code, path, message, hint: 'stop that one first, or listen elsewhere' };
    const hint = 'fine for the service that is running; a second one could not start';
    return { severity: 'warning', code, path, message, hint };
  }
  const by = holder === true ? 'another process' : `${holder.name} (pid ${holder.pid})`;
  const hint = holder === true ? `who it is: ss -lntxp as root` : 'stop it, or listen elsewhere';
  return { code, path, message: `${text} is in use by ${by}`, hint };
}

/** A control socket of another service, and a path that can't be made. */
export function controlComplaints(path: string | undefined, options: CheckOptions): Complaint[] {
  if (path === undefined || !options.ports || options.held?.has(`unix:${path}`)) return [];
  const long = unixPathComplaint(path);
  if (long !== undefined) return [{ code: 'ERR_CONFIG_CONTROL', path: ['control'], ...long }];
  const complaints = socketComplaints(path, ['control'], options);
  return complaints.map((complaint) => ({ ...complaint, code: 'ERR_CONFIG_CONTROL' }));
}

/** What native.listen does with a path (a stale socket is replaced) is not to be done by a check, so it is only looked at. */
function socketComplaints(path: string, at: Path, options: CheckOptions): Complaint[] {
  const holder = holderOfSocket(path);
  if (holder !== undefined) return [inUse(`unix:${path}`, holder, at, options)];
  if (path.startsWith('@')) return [];
  try {
    if (!lstatSync(path).isSocket()) {
      return [
        { code, path: at, message: `${path} is there, and is no socket`, hint: 'name another path, or remove it' },
      ];
    }
  } catch {
    // not there yet, or in a directory that the next lines look at
  }
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
    return [];
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const message = absent
      ? `there is no directory ${dirname(path)}`
      : `this user can not make sockets in ${dirname(path)}`;
    return [
      {
        code,
        path: at,
        message,
        hint: absent ? 'create it, or name another' : 'give it the rights, or name another directory',
      },
    ];
  }
}

/** SD_LISTEN_FDS_START */
const firstPassed = 3;

/** sd_listen_fds(3): the sockets are for us if LISTEN_PID is our process. Undefined: it can't be seen here. */
function passedAddress(fd: number): string | undefined {
  if (Number(process.env.LISTEN_PID) !== process.pid) return undefined;
  try {
    return native.localAddress({ fd });
  } catch {
    // no socket: the start tells it when it listens
    return undefined;
  }
}

function systemdComplaints(name: string, path: Path, { offload }: ListenerParts): Complaint[] {
  const names = process.env.LISTEN_FDNAMES?.split(':');
  if (names === undefined) {
    const message = `whether systemd passes a socket "${name}" can not be seen here`;
    return [{ severity: 'warning', code, path, message, hint: `the .socket unit needs FileDescriptorName=${name}` }];
  }
  if (names.includes(name)) {
    const passed = names.flatMap((each, index) => (each === name ? (passedAddress(firstPassed + index) ?? []) : []));
    const unix = offload.mode === 'kernel' && passed.some((address) => address.startsWith('unix:'));
    return unix ? [unixOffload(path, offload)] : [];
  }
  return [
    {
      code,
      path,
      message: `systemd passes no socket "${name}", but ${names.join(', ')}`,
      hint: `set FileDescriptorName=${name} in the .socket unit`,
    },
  ];
}

/** The loader finds loops by loopback; here come those by an address of this machine. */
function loopComplaints({ addresses, v6Only, backend, path }: ListenerParts): Complaint[] {
  if (backend?.kind !== 'tcp') return [];
  const { host, port } = backend;
  if (!localAddresses().includes(canonicalHost(host))) return [];
  const loop = addresses.some(({ address }) => {
    return address.kind === 'tcp' && address.port === port && covers(address.host, v6Only, host);
  });
  if (!loop) return [];
  const message = `the backend "${addressText(backend)}" is the listener itself`;
  return [
    { code: 'ERR_CONFIG_LOOP', path: [...path, 'backend'], message, hint: 'name the address of the service behind it' },
  ];
}

/** The service may make its socket later, so these are warnings. */
function unixBackendComplaints({ backend, resets, path }: ListenerParts): Complaint[] {
  if (backend?.kind !== 'unix') return [];
  const complaints: Complaint[] = [];
  const warning = { severity: 'warning', code: 'ERR_CONFIG_BACKEND' } as const;
  if (!backend.path.startsWith('@') && isAbsent(backend.path)) {
    const message = `there is no socket ${backend.path}`;
    const hint = 'fine if the service makes it before the first client comes';
    complaints.push({ ...warning, path: [...path, 'backend'], message, hint });
  }
  if (resets) {
    // unix(7): what is sent before close() is read to its end
    const message = 'a unix socket knows no reset: the backend sees the end of data, as with fin';
    const hint = 'give the backend as HOST:PORT, or leave on_truncation out';
    complaints.push({ ...warning, path: [...path, 'on_truncation'], message, hint });
  }
  return complaints;
}

/** What can't be looked at may be there: the worker is another user. */
function isAbsent(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

function localAddresses(): string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return [...new Set(interfaces.map(({ address }) => (isIPv6(address) ? canonicalHost(address) : address)))];
}
