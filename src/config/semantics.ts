// SPDX-License-Identifier: MIT
// Faults that no single value shows: listeners that collide, versions and suites that leave nothing to negotiate. They are
// looked for in whatever part of the configuration can be read, so that all faults of a file come at once.
import type { TlsVersion } from './config.ts';
import { type Complaint, type Path, quoted } from './fault.ts';
import { overlaps } from './overlap.ts';
import type { ListenerParts, OffloadParts, Parts, Tls } from './parts.ts';
import { offeredVersions } from './suites.ts';
import { type Address, addressText, unixPathComplaint } from './values.ts';

export function semanticComplaints(parts: Parts): Complaint[] {
  const { tls, listeners } = parts;
  return [
    ...groupComplaints(parts),
    ...tlsComplaints(tls, {}, ['tls']),
    ...listeners.flatMap((listener) => [
      ...tlsComplaints(listener.tls, tls, [...listener.path, 'tls']),
      ...pathComplaints(listener),
      ...loopComplaints(listener),
      ...offloadComplaints(listener),
    ]),
    ...sameNames(listeners),
    ...sameAddresses(listeners),
  ];
}

function groupComplaints({ hasUser, hasGroup }: Parts): Complaint[] {
  if (!hasGroup || hasUser) return [];
  const hint = 'give "user" too, or neither';
  return [{ code: 'ERR_CONFIG_GROUP', path: ['group'], message: 'there is a group, but no user', hint }];
}

/** Only what the object itself says can be at fault in it: what it inherits has been looked at where it stands. */
function tlsComplaints(own: Tls, inherited: Tls, path: Path): Complaint[] {
  const min: TlsVersion = own.min_version ?? inherited.min_version ?? '1.2';
  const max: TlsVersion = own.max_version ?? inherited.max_version ?? '1.3';
  const complaints: Complaint[] = [
    ...repeated(own.ciphers, [...path, 'ciphers']),
    ...repeated(own.alpn, [...path, 'alpn']),
  ];
  const alpnBytes = (own.alpn ?? []).reduce((sum, protocol) => sum + 1 + Buffer.byteLength(protocol), 0);
  if (alpnBytes > 65_535) {
    complaints.push({
      code: 'ERR_CONFIG_ALPN',
      path: [...path, 'alpn'],
      message: `the protocol names have ${alpnBytes} bytes, TLS takes 65535`,
    });
  }
  if (min > max) {
    const key =
      own.min_version !== undefined ? 'min_version' : own.max_version !== undefined ? 'max_version' : undefined;
    if (key === undefined) return complaints;
    const message = `min_version ${min} is above max_version ${max}`;
    complaints.push({
      code: 'ERR_CONFIG_VERSIONS',
      path: [...path, key],
      message,
      hint: 'no client could connect: raise max_version or lower min_version',
    });
    return complaints;
  }
  const ciphers = own.ciphers ?? inherited.ciphers ?? [];
  const touched = (['ciphers', 'min_version', 'max_version'] as const).find((key) => own[key] !== undefined);
  if (ciphers.length === 0 || touched === undefined) return complaints;
  // a version that has no suite in the list is just not offered
  if (offeredVersions(min, max, ciphers).length > 0) return complaints;
  complaints.push({
    code: 'ERR_CONFIG_CIPHERS',
    path: [...path, touched],
    message: `no suite of the list is for TLS ${min === max ? min : `${min} or ${max}`}`,
    hint: 'no client could connect: add suites of that version, or leave the list out',
  });
  return complaints;
}

function repeated(list: readonly string[] | undefined, path: Path): Complaint[] {
  const twice = (list ?? []).find((item, index, all) => all.indexOf(item) !== index);
  if (twice === undefined) return [];
  return [{ code: 'ERR_CONFIG_DUPLICATE', path, message: `${quoted(twice)} is in the list twice` }];
}

function pathComplaints(listener: ListenerParts): Complaint[] {
  const sockets = [
    ...listener.addresses,
    ...(listener.backend ? [{ address: listener.backend, path: [...listener.path, 'backend'] }] : []),
  ];
  return sockets.flatMap(({ address, path }) => {
    const complaint = address.kind === 'unix' ? unixPathComplaint(address.path) : undefined;
    return complaint === undefined ? [] : [{ code: 'ERR_CONFIG_PATH', path, ...complaint }];
  });
}

/** A backend on another address of this machine is found by the check of the environment. */
function loopComplaints(listener: ListenerParts): Complaint[] {
  const backend = listener.backend;
  if (backend === undefined) return [];
  const loopback = backend.kind === 'tcp' && ['localhost', 'ip6-localhost'].includes(backend.host.toLowerCase());
  const targets: readonly Address[] =
    loopback && backend.kind === 'tcp'
      ? [
          { ...backend, host: '127.0.0.1' },
          { ...backend, host: '::1' },
        ]
      : [backend];
  // a listener on all addresses gets what is sent to a loopback address, not what is sent elsewhere
  const here = targets.filter((target) => target.kind === 'unix' || (target.kind === 'tcp' && isOwn(target.host)));
  const exact = targets.filter((target) =>
    listener.addresses.some(({ address }) => addressText(address) === addressText(target)),
  );
  const hit =
    exact.length > 0 ||
    here.some((target) => listener.addresses.some(({ address }) => overlaps(address, listener.v6Only, target, false)));
  if (!hit) return [];
  const message = `the backend ${quoted(addressText(backend))} is the listener itself`;
  return [
    {
      code: 'ERR_CONFIG_LOOP',
      path: [...listener.path, 'backend'],
      message,
      hint: 'name the address of the service behind it',
    },
  ];
}

function isOwn(host: string): boolean {
  return host.startsWith('127.') || host === '::1';
}

function offloadComplaints({ addresses, offload }: ListenerParts): Complaint[] {
  if (offload.mode !== 'kernel') return [];
  return addresses.flatMap(({ address, path }) => (address.kind === 'unix' ? [unixOffload(path, offload)] : []));
}

/** net/ipv4/tcp_ulp.c: kernel TLS sits on TCP. */
export function unixOffload(path: Path, { write }: OffloadParts): Complaint {
  const message = `a unix socket has no kernel TLS, which "${write('kernel')}" asks for`;
  const hint = `give this listener "${write('auto')}", or listen on HOST:PORT`;
  return { code: 'ERR_CONFIG_OFFLOAD', path, message, hint };
}

function sameNames(listeners: readonly ListenerParts[]): Complaint[] {
  return listeners.flatMap((listener, index) => {
    const first = listeners.slice(0, index).find((other) => other.name !== undefined && other.name === listener.name);
    if (first === undefined) return [];
    const message = `another listener is called ${quoted(listener.name)}`;
    return [
      { code: 'ERR_CONFIG_DUPLICATE', path: [...listener.path, 'name'], message, hint: 'give each its own name' },
    ];
  });
}

function sameAddresses(listeners: readonly ListenerParts[]): Complaint[] {
  const all = listeners.flatMap((listener) => listener.addresses.map((each) => ({ ...each, v6Only: listener.v6Only })));
  return all.flatMap(({ address, v6Only, path }, index) => {
    const first = all.slice(0, index).find((other) => overlaps(address, v6Only, other.address, other.v6Only));
    if (first === undefined) return [];
    const text = quoted(addressText(address));
    const message =
      addressText(first.address) === addressText(address)
        ? `${text} is listened on twice`
        : `${text} is already covered by ${quoted(addressText(first.address))}`;
    return [{ code: 'ERR_CONFIG_DUPLICATE', path, message, hint: 'each address can belong to one listener only' }];
  });
}
