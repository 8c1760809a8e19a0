// SPDX-License-Identifier: MIT
// Whether this kernel can do what `offload: kernel` asks of it. `auto` asks for nothing: what the kernel can't is done without it.
import { release } from 'node:os';
import { absentFolder, absentFolderHint, loadCommand, moduleStates, partOf, type ReadFile } from '../doctor/modules.ts';
import type { KernelReport } from '../native.ts';
import { type Complaint, pathText } from './fault.ts';
import { engineReasons, type MissingKeys, missingKeys, noKernelTls, noRekeyWarning } from './offload.ts';
import type { ListenerParts } from './parts.ts';
import { offeredVersions } from './suites.ts';
import { addressText } from './values.ts';

const code = 'ERR_CONFIG_OFFLOAD';
const doctor = '"ironsocket doctor" tells what this kernel can do';

/** One complaint for each place that says `kernel`. `read` finds out why the kernel can't. */
export function offloadComplaints(
  listeners: readonly ListenerParts[],
  kernel: KernelReport,
  read: ReadFile,
): Complaint[] {
  const asking = Map.groupBy(
    listeners.filter(({ offload }) => offload.mode === 'kernel'),
    ({ offload }) => pathText(offload.path),
  );
  return [...asking.values()].flatMap((group) => placeComplaints(group, kernel, read));
}

/** All of `group` are told by the same place. */
function placeComplaints(group: readonly ListenerParts[], kernel: KernelReport, read: ReadFile): Complaint[] {
  const [first] = group;
  if (first === undefined) return [];
  const { path, write } = first.offload;
  const auto = write('auto');
  if (kernel.ulp !== 'ok') return [{ code, path, ...withoutTls(kernel.ulp, auto, read) }];
  const choices = group.flatMap((listener) => {
    if (listener.suites === undefined) return [];
    const { minVersion, maxVersion, ciphers } = listener.suites;
    return { listener, versions: offeredVersions(minVersion, maxVersion, ciphers), ciphers };
  });
  const missing = choices.flatMap(({ versions, ciphers }) =>
    versions.flatMap((version) => missingKeys(kernel, version, ciphers)),
  );
  if (missing.length > 0) return [{ code, path, ...missingCiphers(missing, auto, read) }];
  const lossy = choices.filter(({ versions }) => !kernel.rekey && versions.includes('1.3'));
  if (lossy.length === 0) return [];
  const message = `${noRekeyWarning.message} (${lossy.map(({ listener }) => nameOf(listener)).join(', ')})`;
  return [{ severity: 'warning', code, path, message, hint: noRekeyWarning.hint(auto) }];
}

function nameOf({ name, addresses: [first] }: ListenerParts): string {
  return name ?? (first === undefined ? 'a listener' : addressText(first.address));
}

type Text = Pick<Complaint, 'message' | 'hint'>;

function withoutTls(errno: string, auto: string, read: ReadFile): Text {
  const words = noKernelTls(errno);
  if (errno !== 'ENOENT') return { message: words, hint: `set "${auto}"; ${doctor}` };
  const { tls } = moduleStates(read, release());
  if (tls === 'absent') {
    const hint = `set "${auto}", or run another kernel; ${doctor}`;
    return { message: `${words}: it is built without CONFIG_TLS`, hint };
  }
  const folder = tls === 'file' ? undefined : absentFolder(read, release());
  if (folder !== undefined) {
    const message = `${words}: its module is not loaded, and there is no ${folder}`;
    return { message, hint: `set "${auto}", or ${absentFolderHint}: ${loadCommand('tls')}` };
  }
  const message = `${words}: its module is not loaded${tls === 'file' ? '' : ', or it is built without CONFIG_TLS'}`;
  return { message, hint: `set "${auto}", or as root on the host: ${loadCommand('tls')}` };
}

function missingCiphers(missing: readonly MissingKeys[], auto: string, read: ReadFile): Text {
  const texts = [...Map.groupBy(missing, ({ cipher }) => cipher)].map(([cipher, keys]) => {
    const versions = [...new Set(keys.map(({ version }) => version))].toSorted();
    const oneWay = keys.every(({ tx }) => tx === 'ok')
      ? ' from clients'
      : keys.every(({ rx }) => rx === 'ok')
        ? ' to clients'
        : '';
    return `${cipher} with TLS ${versions.join(' and ')}${oneWay}`;
  });
  const errnos = [...new Set(missing.flatMap(({ tx, rx }) => [tx, rx]))].filter((errno) => errno !== 'ok');
  const states = moduleStates(read, release());
  const absent = missing.filter(({ tx, rx }) => tx === 'ENOENT' || rx === 'ENOENT');
  const names = [...new Set(absent.map(({ cipher }) => partOf[cipher]))].filter((name) => states[name] !== 'absent');
  const load = names.length === 0 ? `; ${doctor}` : `, or as root on the host: ${names.map(loadCommand).join('; ')}`;
  const message = `${engineReasons.noCipher}: ${texts.join(', ')} (${errnos.join(', ')})`;
  return { message, hint: `leave the cipher out, or set "${auto}"${load}` };
}
