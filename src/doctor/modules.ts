// SPDX-License-Identifier: MIT
// Whether the kernel has a part, as a module or built in, as far as the file system tells. Containers seldom see the host's
// modules: then it is not known.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { KernelReport } from '../native.ts';

/** `file`: there is a module that can be loaded. */
export type ModuleState = 'builtin' | 'file' | 'absent' | 'unknown';

/** The contents of a file, undefined where it can't be read. */
export type ReadFile = (path: string) => Buffer | undefined;

interface KernelPart {
  readonly module: string;
  readonly option: string;
}

export const kernelParts = {
  tls: { module: 'tls', option: 'CONFIG_TLS' },
  gcm: { module: 'gcm', option: 'CONFIG_CRYPTO_GCM' },
  ccm: { module: 'ccm', option: 'CONFIG_CRYPTO_CCM' },
  chacha20poly1305: { module: 'chacha20poly1305', option: 'CONFIG_CRYPTO_CHACHA20POLY1305' },
} as const satisfies Record<string, KernelPart>;
export type KernelPartName = keyof typeof kernelParts;

/** What the kernel needs for a cipher, beside `tls`. */
export const partOf = {
  'AES-128-GCM': 'gcm',
  'AES-256-GCM': 'gcm',
  'AES-128-CCM': 'ccm',
  'CHACHA20-POLY1305': 'chacha20poly1305',
} as const satisfies Record<KernelReport['keys'][number]['cipher'], KernelPartName>;

/** Run as root on the host: loads a module now and at each boot. */
export function loadCommand(module: string): string {
  return `modprobe ${module}; echo ${module} >> ${loadedAtBoot}`;
}

export const loadedAtBoot = '/etc/modules-load.d/ironsocket.conf';

export function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** The folder in which modprobe looks, where it is not to be seen: undefined where it is. */
export function absentFolder(read: ReadFile, release: string): string | undefined {
  const folder = `/lib/modules/${release}`;
  const there = read(`${folder}/modules.builtin`) !== undefined || read(`${folder}/modules.dep`) !== undefined;
  return there ? undefined : folder;
}

/** What an absent folder calls for; a module can't be loaded from it. */
export const absentFolderHint = 'reboot if the kernel was updated; in a container, modprobe on the host';

/** Looks through the lists of modules first, then through the kernel's own configuration. */
export function moduleStates(read: ReadFile, release: string): Readonly<Record<KernelPartName, ModuleState>> {
  const builtin = read(`/lib/modules/${release}/modules.builtin`)?.toString();
  const files = read(`/lib/modules/${release}/modules.dep`)?.toString();
  const config = kernelConfig(read, release);
  const state = ({ module, option }: KernelPart): ModuleState => {
    if (lists(builtin, module)) return 'builtin';
    if (lists(files, module)) return 'file';
    const set = config === undefined ? undefined : (new RegExp(`^${option}=(.)`, 'm').exec(config)?.[1] ?? 'n');
    if (set === 'y') return 'builtin';
    if (set === 'n' || (builtin !== undefined && files !== undefined)) return 'absent';
    return 'unknown';
  };
  return {
    tls: state(kernelParts.tls),
    gcm: state(kernelParts.gcm),
    ccm: state(kernelParts.ccm),
    chacha20poly1305: state(kernelParts.chacha20poly1305),
  };
}

/** Both lists name files: `kernel/net/tls/tls.ko.xz: kernel/...`. */
function lists(list: string | undefined, module: string): boolean {
  return list !== undefined && new RegExp(`/${module}\\.ko(\\.\\w+)?(:|$)`, 'm').test(list);
}

function kernelConfig(read: ReadFile, release: string): string | undefined {
  const packed = read('/proc/config.gz');
  if (packed === undefined) return read(`/boot/config-${release}`)?.toString();
  try {
    return gunzipSync(packed).toString();
  } catch {
    return undefined;
  }
}
