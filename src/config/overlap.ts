// SPDX-License-Identifier: MIT
// Which addresses can't be had at the same time, and which one leads back to oneself.
import { isIPv6 } from 'node:net';
import { type Address, canonicalHost } from './values.ts';

/** Whether binding both fails with EADDRINUSE (ip(7), ipv6(7) IPV6_V6ONLY). */
export function overlaps(a: Address, aV6Only: boolean, b: Address, bV6Only: boolean): boolean {
  if (a.kind === 'unix' && b.kind === 'unix') return a.path === b.path;
  if (a.kind === 'systemd' && b.kind === 'systemd') return a.name === b.name;
  if (a.kind !== 'tcp' || b.kind !== 'tcp' || a.port !== b.port) return false;
  return (
    canonicalHost(a.host) === canonicalHost(b.host) ||
    covers(a.host, aV6Only, b.host) ||
    covers(b.host, bV6Only, a.host)
  );
}

/** Whether a connection to `target` would arrive at a listener on `host`. */
export function covers(host: string, v6Only: boolean, target: string): boolean {
  const canonical = canonicalHost(host);
  if (canonical === canonicalHost(target)) return true;
  if (canonical === '0.0.0.0') return !isIPv6(target) && canonicalHost(target) !== '::' && target !== '*';
  if (canonical !== '*' && canonical !== '::') return false;
  return !v6Only || isIPv6(target) || target === '*';
}
