// SPDX-License-Identifier: MIT
// Where the peers' programs come from: Debian's packages, as this system installs them or the newest that there are.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pidsCalled } from './processes.ts';

export interface Programs {
  /** Makes sure that these packages are there. Throws when they can't be had. */
  provide(packages: readonly string[]): void;
  /** Where a file of theirs lies, by its path after installation. */
  path(file: string): string;
  /** Command that runs one of their programs, by its path after installation. */
  command(program: string): readonly string[];
  /** Of a package; empty if it is not there. */
  version(name: string): string;
}

/** Those of this system's Debian, installed where they are missing. Services that their installation has started are ended. */
export const installed: Programs = {
  provide(packages) {
    const missing = packages.filter((name) => installed.version(name) === '');
    if (missing.length === 0) return;
    const before = new Set(pidsCalled(packages));
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const apt = (...args: string[]) =>
      execFileSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    apt('update');
    apt('install', '-y', '--no-install-recommends', ...missing);
    for (const pid of pidsCalled(packages)) if (!before.has(pid)) process.kill(pid, 'SIGTERM');
  },
  path: (file) => file,
  command: (program) => [program],
  version(name) {
    try {
      const text = execFileSync('dpkg-query', ['-s', name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      return /^Status: .* installed$/m.test(text) ? (/^Version: (.*)$/m.exec(text)?.[1] ?? '') : '';
    } catch {
      return '';
    }
  },
};

/** All that are measured, and whoever else they need. */
const wanted = ['nginx', 'libnginx-mod-stream', 'haproxy', 'hitch', 'stunnel4'];
const script = fileURLToPath(new URL('newest-programs', import.meta.url));
// In the checkout, so that the kernel lab, which has no network, finds it.
const folder = fileURLToPath(new URL('../../build-native/newest-programs', import.meta.url));

/**
 * Those of Debian's unstable suite, unpacked into a folder with all libraries that they need, the C library and OpenSSL
 * included. They run with these and else as programs of this system.
 */
export const newest: Programs = {
  provide: (packages) => {
    const strange = packages.filter((name) => !wanted.includes(name));
    if (strange.length > 0) throw new Error(`not among the newest: ${strange}`);
    if (!existsSync(join(folder, 'versions'))) {
      execFileSync(script, [folder, ...wanted], { stdio: ['ignore', 'ignore', 'pipe'] });
    }
  },
  path: (file) => join(folder, 'root', file),
  command: (program) => withNewestLibraries(newest.path(program)),
  version: (name) => {
    const file = join(folder, 'versions');
    const text = existsSync(file) ? readFileSync(file, 'latin1') : '';
    return new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1] ?? '';
  },
};

/** Command that runs a program of this system with their libraries. */
export function withNewestLibraries(program: string): readonly string[] {
  const loader = newest.path('usr/lib64/ld-linux-x86-64.so.2');
  return [loader, '--library-path', newest.path('usr/lib/x86_64-linux-gnu'), program];
}
