// SPDX-License-Identifier: MIT
// The cipher suites of ironsocket: AEAD only, with forward secrecy (RFC 9325, section 4.2). Names are those of IANA's registry.
import type { KernelReport } from '../native.ts';
import type { TlsVersion } from './config.ts';

/** What the records are sealed with. */
export type Cipher = KernelReport['keys'][number]['cipher'];

export interface Suite {
  readonly name: string;
  /** What `openssl ciphers` calls it. */
  readonly openssl: string;
  readonly version: TlsVersion;
  /** Kind of certificate that it signs with; TLS 1.3 suites leave that open. */
  readonly key?: 'ECDSA' | 'RSA';
  /** Not in the default list. */
  readonly onlyIfConfigured?: boolean;
}

export const suites: readonly Suite[] = [
  { name: 'TLS_AES_128_GCM_SHA256', openssl: 'TLS_AES_128_GCM_SHA256', version: '1.3' },
  { name: 'TLS_AES_256_GCM_SHA384', openssl: 'TLS_AES_256_GCM_SHA384', version: '1.3' },
  { name: 'TLS_CHACHA20_POLY1305_SHA256', openssl: 'TLS_CHACHA20_POLY1305_SHA256', version: '1.3' },
  { name: 'TLS_AES_128_CCM_SHA256', openssl: 'TLS_AES_128_CCM_SHA256', version: '1.3', onlyIfConfigured: true },
  {
    name: 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256',
    openssl: 'ECDHE-ECDSA-AES128-GCM-SHA256',
    version: '1.2',
    key: 'ECDSA',
  },
  {
    name: 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
    openssl: 'ECDHE-ECDSA-AES256-GCM-SHA384',
    version: '1.2',
    key: 'ECDSA',
  },
  {
    name: 'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256',
    openssl: 'ECDHE-ECDSA-CHACHA20-POLY1305',
    version: '1.2',
    key: 'ECDSA',
  },
  { name: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256', openssl: 'ECDHE-RSA-AES128-GCM-SHA256', version: '1.2', key: 'RSA' },
  { name: 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', openssl: 'ECDHE-RSA-AES256-GCM-SHA384', version: '1.2', key: 'RSA' },
  {
    name: 'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
    openssl: 'ECDHE-RSA-CHACHA20-POLY1305',
    version: '1.2',
    key: 'RSA',
  },
  {
    name: 'TLS_ECDHE_ECDSA_WITH_AES_128_CCM',
    openssl: 'ECDHE-ECDSA-AES128-CCM',
    version: '1.2',
    key: 'ECDSA',
    onlyIfConfigured: true,
  },
];

export const suiteNames: readonly string[] = suites.map((suite) => suite.name);

/** The versions that clients can really use: a version of which the list has no suite is not offered. Empty: the default list. */
export function offeredVersions(min: TlsVersion, max: TlsVersion, ciphers: readonly string[]): readonly TlsVersion[] {
  return (['1.2', '1.3'] as const).filter((version) => {
    const has = suites.some((suite) => suite.version === version && ciphers.includes(suite.name));
    return version >= min && version <= max && (ciphers.length === 0 || has);
  });
}

/** What sessions of a version may be sealed with, each once. `configured` empty: the default list. */
export function offeredCiphers(version: TlsVersion, configured: readonly string[]): readonly Cipher[] {
  const offered = suites.filter((suite) => {
    const chosen = configured.length === 0 ? suite.onlyIfConfigured !== true : configured.includes(suite.name);
    return suite.version === version && chosen;
  });
  return [...new Set(offered.map(({ name }) => cipherOf(name)))];
}

const ciphers: readonly Cipher[] = ['AES-128-GCM', 'AES-256-GCM', 'AES-128-CCM', 'CHACHA20-POLY1305'];

function cipherOf(suite: string): Cipher {
  const found = ciphers.find((cipher) => suite.includes(cipher.replaceAll('-', '_')));
  if (found === undefined) throw new Error(`no cipher in the name of ${suite}`);
  return found;
}
