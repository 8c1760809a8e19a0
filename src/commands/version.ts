// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { controlVersion } from '../control-version.ts';

/** The version of this package. Its package.json is one level above both src and dist. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What a report of a fault should begin with. */
export function versionText(): string {
  const rows = [
    ['ironsocket', packageVersion()],
    ['node', process.versions.node],
    ['openssl', process.versions.openssl ?? 'none'],
    ['kernel', release()],
    ['control protocol', String(controlVersion)],
  ] as const;
  return rows.map(([name, value]) => `${name.padEnd(16)}  ${value}\n`).join('');
}
