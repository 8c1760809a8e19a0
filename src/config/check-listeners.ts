// SPDX-License-Identifier: MIT
// Whether the addresses of the listeners can be had: rights, ports in use, sockets of systemd, and backends that lead back.
import { accessSync, constants, lstatSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { dirname } from 'node:path';
import { native } from '../native.ts';
import type { ListenerConfig } from './config.ts';
import type { Complaint, Path } from './fault.ts';
import { type Holder, holderOfPort, holderOfSocket } from './holder.ts';
import { covers } from './overlap.ts';
import { type Address, addressText, canonicalHost, parseBackend, parseListen } from './values.ts';

const code = 'ERR_CONFIG_LISTEN';

/** `ports`: really bind, for a moment, to learn whether an address is free. */
export function checkListener(listener: ListenerConfig, path: Path, options: { readonly ports: boolean }): Complaint[] {
  const complaints = listener.addresses.flatMap((text, index) => {
    const address = parsedListen(text);
    const at: Path = [...path, 'listen', index];
    if (address.kind === 'systemd') return systemdComplaints(address.name, at);
    if (address.kind === 'unix') return options.ports ? socketComplaints(address.path, at) : [];
    const rights = portRights(address.port, at);
    return rights.length > 0 || !options.ports ? rights : portComplaints(address, listener.v6Only, at);
  });
  return [...complaints, ...loopComplaints(listener, path)];
}

/** The loader has parsed it before. */
function parsedListen(text: string): Address {
  const parsed = parseListen(text);
  if ('message' in parsed) throw new Error(parsed.message);
  return parsed.value;
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

function portComplaints(address: Address & { readonly kind: 'tcp' }, v6Only: boolean, path: Path): Complaint[] {
  const text = addressText(address);
  try {
    native.closeFd({ fd: native.listen({ address: text, backlog: 1, v6Only }) });
    return [];
  } catch (error) {
    const { code: errno, message } = error as NodeJS.ErrnoException;
    if (errno === 'EADDRINUSE') return [inUse(text, holderOfPort(address.port) ?? true, path)];
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

function inUse(text: string, holder: Holder | true, path: Path): Complaint {
  if (holder !== true && holder.own) {
    const message = `${text} is in use by ironsocket itself (pid ${holder.pid})`;
    return {
      severity: 'warning',
      code,
      path,
      message,
      hint: 'fine for the service that is running; a second one could not start',
    };
  }
  const by = holder === true ? 'another process' : `${holder.name} (pid ${holder.pid})`;
  const hint = holder === true ? `who it is: ss -lntxp as root` : 'stop it, or listen elsewhere';
  return { code, path, message: `${text} is in use by ${by}`, hint };
}

/** What native.listen does with a path (a stale socket is replaced) is not to be done by a check, so it is only looked at. */
function socketComplaints(path: string, at: Path): Complaint[] {
  const holder = holderOfSocket(path);
  if (holder !== undefined) return [inUse(`unix:${path}`, holder, at)];
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

/** sd_listen_fds(3): the sockets are for us if LISTEN_PID is our process. */
function systemdComplaints(name: string, path: Path): Complaint[] {
  const names = process.env.LISTEN_FDNAMES?.split(':');
  if (names === undefined) {
    const message = `whether systemd passes a socket "${name}" can not be seen here`;
    return [{ severity: 'warning', code, path, message, hint: `the .socket unit needs FileDescriptorName=${name}` }];
  }
  if (names.includes(name)) return [];
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
function loopComplaints(listener: ListenerConfig, path: Path): Complaint[] {
  const backend = listener.backend === '' ? undefined : parseBackend(listener.backend);
  if (backend === undefined || 'message' in backend || backend.value.kind !== 'tcp') return [];
  const { host, port } = backend.value;
  if (!localAddresses().includes(canonicalHost(host))) return [];
  const loop = listener.addresses.map(parsedListen).some((address) => {
    return address.kind === 'tcp' && address.port === port && covers(address.host, listener.v6Only, host);
  });
  if (!loop) return [];
  const message = `the backend "${listener.backend}" is the listener itself`;
  return [
    { code: 'ERR_CONFIG_LOOP', path: [...path, 'backend'], message, hint: 'name the address of the service behind it' },
  ];
}

function localAddresses(): string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return [...new Set(interfaces.map(({ address }) => (isIPv6(address) ? canonicalHost(address) : address)))];
}
