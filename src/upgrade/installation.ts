// SPDX-License-Identifier: MIT
// An installation of ironsocket: the directory of the package, with what of it an upgrade starts.
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SystemError } from '../errors.ts';

export interface Installation {
  readonly root: string;
  readonly version: string;
  readonly node: string;
  readonly keeper: string;
  readonly master: string;
  /** Script that tries what the master would do, and changes nothing. */
  readonly preflight: string;
}

/** What we read of package.json. */
interface PackageFile {
  readonly name?: string;
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** Where this program is installed. */
export const ownRoot = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Throws SystemError with a sentence when there is none, or when somebody else could change it. */
export function findInstallation(path: string): Installation {
  const root = real(path);
  const text = (() => {
    try {
      return readFileSync(join(root, 'package.json'), 'utf8');
    } catch (cause) {
      throw unusable(root, 'it has no package.json', cause);
    }
  })();
  const { name, version, dependencies = {} } = parsed(root, text) ?? {};
  if (name !== 'ironsocket' || version === undefined)
    throw unusable(root, 'its package.json is not that of ironsocket');
  const installation = {
    root,
    version,
    node: nodeOf(root),
    keeper: join(root, 'build/Release/keeper'),
    master: join(root, 'dist/master/main.js'),
    preflight: join(root, 'dist/upgrade/preflight-main.js'),
  };
  const { node, keeper, master, preflight } = installation;
  const addon = join(root, 'build/Release/ironsocket.node');
  for (const file of [keeper, master, preflight, addon, join(root, 'package.json')]) {
    if (!existsSync(file)) throw unusable(root, `${file.slice(root.length + 1)} is not there`);
    refuseIfOthersWrite(file);
  }
  refuseIfOthersWriteIn(join(root, 'dist'));
  for (const dependency of Object.keys(dependencies)) {
    const place = placeOf(root, dependency);
    if (place === undefined) throw unusable(root, `${dependency}, which it needs, is not there`);
    refuseIfOthersWriteIn(place);
  }
  try {
    accessSync(keeper, constants.X_OK);
  } catch (cause) {
    throw unusable(root, `${keeper.slice(root.length + 1)} can't be run`, cause);
  }
  refuseIfOthersWrite(node);
  return installation;
}

/** A path that other users could change must not decide what runs with our rights. Throws SystemError for the first part of it that they can. */
export function refuseIfOthersWrite(path: string): void {
  const us = process.geteuid?.() ?? 0;
  for (let part = realpathSync(path); ; part = dirname(part)) {
    const { uid, mode } = statSync(part);
    // In a sticky directory, such as /tmp, only the owner of a file replaces it.
    const shared = (mode & 0o022) !== 0 && (mode & 0o1000) === 0;
    if (shared || (uid !== 0 && uid !== us)) throw changeable(`other users can change ${part}`);
    if (part === '/') return;
  }
}

/** The same for all that is below a directory. */
function refuseIfOthersWriteIn(directory: string): void {
  refuseIfOthersWrite(directory);
  const us = process.geteuid?.() ?? 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink()) {
      if (!existsSync(path)) continue;
      if (statSync(path).isDirectory()) throw changeable(`${path} leads to another directory`);
      refuseIfOthersWrite(path);
      continue;
    }
    const { uid, mode } = lstatSync(path);
    if ((mode & 0o022) !== 0 || (uid !== 0 && uid !== us)) throw changeable(`other users can change ${path}`);
  }
}

function changeable(what: string): SystemError {
  const hint = 'an upgrade takes only what root and its own user alone can write';
  return new SystemError(what, { code: 'EPERM', hint });
}

/** Where Node finds a package that the one in `root` needs. */
function placeOf(root: string, dependency: string): string | undefined {
  for (let directory = root; ; directory = dirname(directory)) {
    const place = join(directory, 'node_modules', dependency);
    if (existsSync(place)) return place;
    if (directory === '/') return undefined;
  }
}

function parsed(root: string, text: string): Partial<PackageFile> | null {
  try {
    return JSON.parse(text) as Partial<PackageFile> | null;
  } catch (cause) {
    throw unusable(root, 'its package.json is not JSON', cause);
  }
}

/** The Node of the installation where it has its own, else the one that runs here. */
function nodeOf(root: string): string {
  const own = join(root, `node_modules/node/node_modules/node-linux-${process.arch}/bin/node`);
  return existsSync(own) ? own : process.execPath;
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw unusable(path, 'it is not there', cause);
  }
}

function unusable(path: string, why: string, cause?: unknown): SystemError {
  const hint = 'name the directory of the package, the one with package.json';
  return new SystemError(`${path} is no installation of ironsocket: ${why}`, { code: 'ENOENT', hint, cause });
}
