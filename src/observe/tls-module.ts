// SPDX-License-Identifier: MIT
// Why a kernel has no /proc/net/tls_stat, as far as an unprivileged process can know: the file is there as soon as the module is
// loaded, and only then.
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import {
  absentFolder,
  absentFolderHint,
  loadCommand,
  moduleStates,
  type ReadFile,
  readIfThere,
} from '../doctor/modules.ts';
import { SystemError } from '../errors.ts';

/** Where the kernel tells of itself; tests name places of their own. */
export interface TlsPlaces {
  readonly stat: string;
  readonly namespace: string;
  /** For all that only explains why there is no `stat`. */
  readonly read: ReadFile;
}

export const kernelPlaces: TlsPlaces = {
  stat: '/proc/net/tls_stat',
  namespace: '/proc/self/ns/net',
  read: readIfThere,
};

const load = `as root on the host: ${loadCommand('tls')}`;
const own = 'ironsocket carries the records itself here';
const doctor = '"ironsocket doctor" tells what this machine can do';

/** The error for a `stat` that could not be read: what is known of the reason, and what to do. */
export function explainAbsence(error: NodeJS.ErrnoException, { stat, read }: TlsPlaces = kernelPlaces): SystemError {
  const code = error.code ?? 'EIO';
  const tell = (message: string, hint: string): SystemError => new SystemError(message, { code, hint, cause: error });
  const kernel = `Linux ${release()}`;
  if (code !== 'ENOENT') return tell(`can't read ${stat}: ${error.message}`, doctor);
  if (!existsSync(dirname(stat))) {
    return tell(`this /proc has no ${dirname(stat)}`, 'it is mounted without it (subset=pid): look from outside');
  }
  const protocols = read('/proc/sys/net/ipv4/tcp_available_ulp')?.toString().split(/\s+/);
  if (protocols?.includes('tls')) {
    return tell(`${kernel} has kernel TLS but does not count it`, `kernels count it from 5.5 on; ${doctor}`);
  }
  const state = moduleStates(read, release()).tls;
  if (state === 'absent') {
    const message = `${kernel} was built without kernel TLS (CONFIG_TLS)`;
    return tell(message, `${own}; a kernel with CONFIG_TLS=m could; ${doctor}`);
  }
  if (state === 'file') return tell(`the module tls of ${kernel} is not loaded`, `${doctor}; ${load}`);
  const folder = absentFolder(read, release());
  if (folder !== undefined) {
    const message = `${kernel} has no kernel TLS: the module tls is not loaded, and there is no ${folder}`;
    return tell(message, `${own}; ${doctor}; ${absentFolderHint}: ${loadCommand('tls')}`);
  }
  return tell(
    `${kernel} has no kernel TLS: the module tls is not loaded, or it was built without it (CONFIG_TLS)`,
    `${own}; ${doctor}; ${load}`,
  );
}
