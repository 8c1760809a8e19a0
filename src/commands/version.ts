// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { controlVersion } from '../control-version.ts';

// Read once: later another version may lie there, or none. It is one level above both src and dist.
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** The version of this package, as it was when this process began. */
export function packageVersion(): string {
  return version;
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
