// SPDX-License-Identifier: MIT
// `ironsocket check`: all that is wrong with a configuration and with what it needs, or a summary of what it would do.

import { type CheckedConfig, checkConfig } from '../config/check.ts';
import { dateText } from '../config/check-certificates.ts';
import type { ListenerConfig } from '../config/config.ts';
import type { ConfigRequest } from '../config/flags.ts';
import { engineChoices, reasonsOf } from '../config/offload.ts';
import { optionsFor, renderFaults } from '../config/render.ts';
import { offeredVersions } from '../config/suites.ts';
import { sizeText } from '../config/values.ts';
import type { CertificateReport, KernelReport } from '../native.ts';

/** Prints a summary to stdout and warnings to stderr. Throws ConfigError when there is a fault. */
export function check(request: ConfigRequest): void {
  const checked = checkConfig(request, { starting: false });
  const { warnings } = checked;
  if (warnings.length > 0) process.stderr.write(`${renderFaults(warnings, optionsFor(process.stderr))}\n`);
  process.stdout.write(summary(request.file ?? 'the command line', checked, Date.now() / 1000));
}

export function summary(name: string, { config, warnings, certificates, kernel }: CheckedConfig, now: number): string {
  const listeners = config.listeners.map((listener, index) =>
    listenerText(listener, certificates[index] ?? [], kernel, now),
  );
  const count = warnings.length;
  const verdict = count === 0 ? 'OK' : `OK, with ${count} warning${count === 1 ? '' : 's'}`;
  return `${name}: ${verdict}\n\n${listeners.join('\n')}`;
}

function listenerText(
  listener: ListenerConfig,
  reports: readonly (CertificateReport | undefined)[],
  kernel: KernelReport | undefined,
  now: number,
): string {
  const addresses = listener.addresses.join(', ');
  const title = addresses === listener.name ? '' : `${listener.name}: `;
  const versions = offeredVersions(listener.minVersion, listener.maxVersion, listener.ciphers);
  const details = [
    `TLS ${versions.join(' and ')}`,
    ...(listener.alpn.length > 0 ? [`ALPN ${listener.alpn.join(', ')}`] : []),
    ...(listener.proxyProtocol === 'none' ? [] : [`PROXY ${listener.proxyProtocol} to the backend`]),
  ];
  const backend = listener.backend === '' ? 'a page of its own' : listener.backend;
  const rows = [
    `  ${title}${addresses} -> ${backend}`,
    `    ${details.join(', ')}`,
    `    ${offloadText(listener, kernel)}`,
    ...reports.map((report) => certificateText(report, now)),
  ];
  return rows.map((row) => `${row}\n`).join('');
}

/** `offload auto: TLS 1.2 kernel, TLS 1.3 userspace (the kernel can't rekey TLS 1.3)` */
function offloadText(listener: ListenerConfig, kernel: KernelReport | undefined): string {
  const { offload, offloadAfter } = listener;
  if (offload === 'userspace') return 'offload userspace';
  const choices = engineChoices(listener, kernel);
  const goesOver = offloadAfter > 0 && choices.some(({ engine }) => engine !== 'userspace');
  const title = `offload ${offload}${goesOver ? ` after ${sizeText(offloadAfter)}` : ''}`;
  const reason = reasonsOf(choices);
  const engines = choices.map(({ version, engine }) => `TLS ${version} ${engine}`).join(', ');
  return `${title}: ${engines}${reason === undefined ? '' : ` (${reason})`}`;
}

function certificateText(report: CertificateReport | undefined, now: number): string {
  const leaf = report?.chain[0];
  if (leaf === undefined) return '';
  const days = Math.floor((leaf.notAfter - now) / 86_400);
  const names = leaf.names.length > 0 ? leaf.names.join(', ') : leaf.subject;
  return `    certificate ${names} (${leaf.keyType}), expires ${dateText(leaf.notAfter)}, in ${days} day${days === 1 ? '' : 's'}`;
}
