// SPDX-License-Identifier: MIT
// Where control sockets are: where the configuration says, or in a directory of the user's own by the PID of the service, which never
// changes, so that several services do not meet.
import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Config } from '../config/config.ts';
import { SystemError } from '../errors.ts';

/** Where those of root are, and of services for which systemd makes it (`RuntimeDirectory=ironsocket`). */
const systemDirectory = '/run/ironsocket';

/** Of this user, in an environment. */
export function controlDirectory(
  environment: NodeJS.ProcessEnv = process.env,
  uid: number = process.geteuid?.() ?? 0,
): string {
  if (uid === 0) return systemDirectory;
  // systemd.exec(5): one path, or several with colons between them.
  const [given] = environment.RUNTIME_DIRECTORY?.split(':') ?? [];
  if (given?.startsWith('/')) return given;
  const { XDG_RUNTIME_DIR: runtime } = environment;
  return runtime?.startsWith('/') ? join(runtime, 'ironsocket') : join(tmpdir(), `ironsocket-${uid}`);
}

/** Absolute path for the service with this PID; undefined: it shall have none. */
export function controlPath({ control }: Pick<Config, 'control'>, pid: number): string | undefined {
  if (control === 'off') return undefined;
  return control ?? join(controlDirectory(), `${pid}.sock`);
}

/** Makes the directory of a default path. Throws SystemError when it is somebody else's, who could put sockets of his own there. */
export function makeControlDirectory(path: string): void {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: process.geteuid?.() === 0 ? 0o755 : 0o700 });
  if (isOurs(path)) return;
  const hint = `remove it, or set "control"`;
  throw new SystemError(`${directory} belongs to another user, or others may write in it`, { code: 'EPERM', hint });
}

/** Whether nobody but us, and root, decides what is in the directory of this path, which has to be there. */
export function isOurs(path: string): boolean {
  const { uid, mode } = lstatSync(dirname(path));
  return uid === process.geteuid?.() && (mode & 0o022) === 0;
}

/** Where a command looks for services. */
export function searchedDirectories(): readonly string[] {
  return [...new Set([controlDirectory(), systemDirectory])];
}

/** Sockets at default places, of services that run or have been killed. */
export function defaultSockets(directories = searchedDirectories()): readonly string[] {
  return directories.flatMap((directory) => {
    try {
      const names = readdirSync(directory).filter((name) => /^\d+\.sock$/.test(name));
      return names.map((name) => join(directory, name));
    } catch {
      // never made, or another user's
      return [];
    }
  });
}
