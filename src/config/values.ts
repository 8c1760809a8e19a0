// SPDX-License-Identifier: MIT
// The values of a configuration that are more than text or numbers: each has one parser, which either gives the parsed
// value or says in words what is wrong and what to write instead.
import { isIPv4, isIPv6 } from 'node:net';
import { closest, quoted } from './fault.ts';
import { suiteNames, suites } from './suites.ts';

export type Parsed<T> = { readonly value: T } | { readonly message: string; readonly hint?: string };

/** Milliseconds: timers of JavaScript take up to 2^31 - 1, the engine's a uint32. */
const maxDurationMs = 500 * 3_600_000;
const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds from `500ms`, `10s`, `5m`, `1h`, `1h30m`, `2d`, or `0`. */
export function parseDuration(text: string): Parsed<number> {
  if (text === '0') return { value: 0 };
  if (/^\d+$/.test(text))
    return { message: `${quoted(text)} has no unit`, hint: `write ${text}s for seconds, ${text}ms for milliseconds` };
  if (!/^(?:\d+(?:ms|s|m|h|d))+$/.test(text)) {
    return {
      message: `${quoted(text)} is not a duration`,
      hint: 'write a number and ms, s, m, h or d: 500ms, 10s, 5m, 1h',
    };
  }
  let total = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) total += Number(count) * (units[unit ?? ''] ?? 0);
  if (total > maxDurationMs)
    return { message: `${quoted(text)} is too long`, hint: 'at most 500h; 0 means never where that is allowed' };
  return { value: total };
}

/** The same for a timeout that must end: 0 is refused. */
export function parseFiniteDuration(text: string): Parsed<number> {
  const parsed = parseDuration(text);
  if ('value' in parsed && parsed.value === 0) {
    return { message: 'this timeout can not be switched off', hint: 'write how long to wait, for example 10s' };
  }
  return parsed;
}

/** Far more than a session that should stay in userspace would carry, and exact as a number. */
const maxSize = 1024 ** 4;
const sizeUnits: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** Bytes from `512B`, `64KiB`, `1MiB`, `2GiB`, or `0`. */
export function parseSize(text: string): Parsed<number> {
  if (text === '0') return { value: 0 };
  if (/^\d+$/.test(text)) return { message: `${quoted(text)} has no unit`, hint: unitHint(text) };
  const [, count, unit] = /^(\d+)(B|KiB|MiB|GiB)$/.exec(text) ?? [];
  if (count === undefined || unit === undefined)
    return { message: `${quoted(text)} is not a size`, hint: sizeHint(text) };
  const value = Number(count) * (sizeUnits[unit] ?? 0);
  return value > maxSize ? { message: `${quoted(text)} is too large`, hint: 'at most 1024GiB' } : { value };
}

/** Bytes, as nearly everywhere else, but a small number may be of something larger. */
function unitHint(text: string): string {
  const bytes = Number(text);
  if (bytes < 1024) return `write ${text}KiB, or ${text}B for bytes`;
  const short = bytes > maxSize ? `${text}B` : sizeText(bytes);
  return short === `${text}B` ? `write ${text}B` : `write ${short} (or ${text}B)`;
}

/** In the largest unit that it is a whole number of. */
export function sizeText(bytes: number): string {
  const [unit, factor] = Object.entries(sizeUnits).findLast(([, each]) => bytes % each === 0) ?? ['B', 1];
  return bytes === 0 ? '0' : `${bytes / factor}${unit}`;
}

/** What others write as `64k` or `64KB` is the same number in all their programs, but not the same size. */
function sizeHint(text: string): string {
  const [, count, prefix] = /^(\d+)\s*([kmg])i?b?$/i.exec(text) ?? [];
  if (count === undefined || prefix === undefined) return 'write a number and B, KiB, MiB or GiB: 512B, 64KiB, 1MiB';
  return `write ${count}${prefix.toUpperCase()}iB`;
}

export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'systemd'; readonly name: string };

const listenForms = 'write HOST:PORT, *:PORT, [IPV6]:PORT, unix:/path or systemd:NAME';
const backendForms = 'write HOST:PORT, [IPV6]:PORT or unix:/path';

/** An address of this machine: numbers only, as a name may have several. */
export function parseListen(text: string): Parsed<Address> {
  if (text.startsWith('systemd:')) return parseSystemd(text.slice('systemd:'.length));
  const parsed = parseAddress(text, listenForms);
  if ('message' in parsed || parsed.value.kind !== 'tcp') return parsed;
  const { host, port } = parsed.value;
  if (host === '*' || isIPv4(host) || isIPv6(host)) return parsed;
  return {
    message: `${quoted(host)} is not an address of this machine`,
    hint:
      host === 'localhost'
        ? `write 127.0.0.1:${port} or "[::1]:${port}"`
        : `write a number such as 127.0.0.1, or * for all addresses`,
  };
}

export function parseBackend(text: string): Parsed<Address> {
  if (text.startsWith('systemd:')) return { message: 'a backend can not come from systemd', hint: backendForms };
  const parsed = parseAddress(text, backendForms);
  if ('message' in parsed || parsed.value.kind !== 'tcp') return parsed;
  const { host, port } = parsed.value;
  if (host === '*' || host === '0.0.0.0' || (isIPv6(host) && canonicalHost(host) === '::')) {
    return {
      message: `${quoted(host)} is not a place to connect to`,
      hint: `for this machine write 127.0.0.1:${port}`,
    };
  }
  return parsed;
}

function parseSystemd(name: string): Parsed<Address> {
  // systemd.socket(5), FileDescriptorName=: no control characters and no ":", at most 255 characters
  if (/^[^:\p{Cc}\s]{1,255}$/u.test(name)) return { value: { kind: 'systemd', name } };
  return {
    message: `${quoted(name)} is not a socket name`,
    hint: 'write systemd:NAME with the FileDescriptorName= of the .socket unit',
  };
}

function parseAddress(text: string, forms: string): Parsed<Address> {
  if (text.startsWith('unix:')) return parseUnixPath(text.slice('unix:'.length));
  if (text.startsWith('/')) return { message: `${quoted(text)} has no "unix:" in front`, hint: `write unix:${text}` };
  const scheme = /^[a-z]+:\/\//i.exec(text)?.[0];
  if (scheme !== undefined)
    return { message: `${quoted(text)} is a URL, not an address`, hint: `leave out ${scheme} and write HOST:PORT` };
  if (/^:?\d+$/.test(text)) {
    const port = text.replace(':', '');
    return {
      message: `${quoted(text)} has no host`,
      hint:
        forms === listenForms ? `write "*:${port}" for all addresses, or 127.0.0.1:${port}` : `write 127.0.0.1:${port}`,
    };
  }
  const bare = bareIpv6(text);
  if (bare !== undefined) {
    return { message: `${quoted(text)} has an IPv6 address without brackets`, hint: `write "${bare}"` };
  }
  const match = /^(?:\[(?<six>[^\]]*)\]|(?<host>[^:[\]]*))(?::(?<port>.*))?$/su.exec(text);
  if (match?.groups === undefined) return { message: `${quoted(text)} is not an address`, hint: forms };
  const { six, host, port } = match.groups;
  const hostFault =
    six === undefined ? hostComplaint(host ?? '') : isIPv6(six) ? undefined : `${quoted(six)} is not an IPv6 address`;
  if (hostFault !== undefined) return { message: hostFault, hint: forms };
  if (port === undefined || port === '') return { message: `${quoted(text)} has no port`, hint: forms };
  if (!/^\d+$/.test(port))
    return { message: `${quoted(port)} is not a port`, hint: 'a port is a number from 1 to 65535' };
  if (Number(port) < 1 || Number(port) > 65_535)
    return { message: `port ${port.slice(0, 20)} is out of range`, hint: 'a port is a number from 1 to 65535' };
  return { value: { kind: 'tcp', host: six ?? host ?? '', port: Number(port) } };
}

/** What was probably meant by an IPv6 address without brackets: its last group is taken for the port where that is possible. */
function bareIpv6(text: string): string | undefined {
  const head = text.slice(0, Math.max(0, text.lastIndexOf(':')));
  if (isIPv6(head)) return `[${head}]${text.slice(head.length)}`;
  return isIPv6(text) ? `[${text}]:PORT` : undefined;
}

function hostComplaint(host: string): string | undefined {
  if (host === '') return 'there is no host';
  if (host === '*' || isIPv4(host)) return undefined;
  if (/^[\d.]+$/.test(host)) return `${quoted(host)} is not an IPv4 address`;
  const labels = host.replace(/\.$/, '').split('.');
  const fits = host.length <= 253 && labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(label));
  return fits ? undefined : `${quoted(host)} is not a host name`;
}

/** sun_path holds 108 bytes, the last is NUL (unix(7)). */
const maxUnixPath = 107;

function parseUnixPath(path: string): Parsed<Address> {
  if (path === '' || path === '@' || path.endsWith('/'))
    return { message: 'there is no path after "unix:"', hint: 'write unix:/run/NAME.sock' };
  if (path.includes('\0')) return { message: 'the path contains a NUL character' };
  return { value: { kind: 'unix', path } };
}

/** Checked when the path is absolute, since that is what the kernel gets. */
export function unixPathComplaint(path: string): { readonly message: string; readonly hint: string } | undefined {
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxUnixPath) return undefined;
  return {
    message: `the path ${quoted(path)} has ${bytes} bytes, a unix socket takes ${maxUnixPath}`,
    hint: 'use a shorter directory, for example /run/ironsocket/',
  };
}

/** One spelling for each IPv6 address, so that they can be compared. */
export function canonicalHost(host: string): string {
  if (!isIPv6(host)) return host.toLowerCase();
  const [number, zone] = host.split('%');
  const canonical = new URL(`http://[${number}]`).hostname.slice(1, -1);
  return zone === undefined ? canonical : `${canonical}%${zone}`;
}

export function addressText(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  if (address.kind === 'systemd') return `systemd:${address.name}`;
  return `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`;
}

export function parseSuite(text: string): Parsed<string> {
  if (suiteNames.includes(text)) return { value: text };
  const known = suites.find((suite) => suite.openssl === text);
  const near = known?.name ?? closest(text, suiteNames);
  return {
    message: `${quoted(text)} is not a suite that ironsocket has`,
    hint: near === undefined ? `one of ${suiteNames.join(' ')}` : `did you mean ${near}?`,
  };
}

/** RFC 7301: a protocol name has 1 to 255 bytes. */
export function parseAlpn(text: string): Parsed<string> {
  const bytes = Buffer.byteLength(text);
  if (bytes === 0) return { message: 'a protocol name can not be empty', hint: 'for example h2 or http/1.1' };
  if (bytes > 255)
    return { message: `the protocol name has ${bytes} bytes, TLS takes 255`, hint: 'for example h2 or http/1.1' };
  return { value: text };
}

/** Names go into log lines and metrics as they are. */
export function parseName(text: string): Parsed<string> {
  if (/^[\p{L}\p{N}_][\p{L}\p{N}_.-]{0,63}$/u.test(text)) return { value: text };
  return {
    message: `${quoted(text)} is not a name for a listener`,
    hint: 'use up to 64 letters, digits, ".", "-" and "_"',
  };
}

/** A path of a file, without what no path can hold. */
export function parseFilePath(text: string): Parsed<string> {
  if (text === '') return { message: 'the path is empty' };
  if (text.includes('\0')) return { message: 'the path contains a NUL character' };
  return { value: text };
}

/** A path of a socket; abstract names have no rights that could be checked. */
export function parseControl(text: string): Parsed<string> {
  if (text === 'off') return { value: text };
  if (text.startsWith('unix:') || text.startsWith('@'))
    return { message: `${quoted(text)} is not a path`, hint: 'write a path such as /run/ironsocket/web.sock' };
  if (text === '' || text.endsWith('/')) return { message: 'there is no path' };
  return parseFilePath(text);
}

export function parseAccount(text: string): Parsed<string> {
  if (/^\d+$/.test(text)) {
    return Number(text) < 4_294_967_295
      ? { value: text }
      : { message: `${quoted(text)} is not a number of a user or group` };
  }
  // useradd(8) and systemd agree on less, directory services on more: refuse only what getent(1) would misread
  if (/^[^\s:,/\p{Cc}-][^\s:,/\p{Cc}]{0,255}$/u.test(text)) return { value: text };
  return { message: `${quoted(text)} is not a name of a user or group` };
}
