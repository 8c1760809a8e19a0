// SPDX-License-Identifier: MIT
// The configuration that a reload finds, checked as `ironsocket check` and the start do, and for what only a start can change.
import { examine } from '../config/check.ts';
import type { Config } from '../config/config.ts';
import type { Complaint, Fault, Path } from '../config/fault.ts';
import { sortFaults } from '../config/fault.ts';
import type { ConfigRequest } from '../config/flags.ts';
import { readConfig } from '../config/load.ts';
import { ConfigError } from '../errors.ts';
import { changesOf } from './changes.ts';
import type { Setup } from './setup.ts';

export interface NextConfig {
  readonly config: Config;
  readonly warnings: readonly Fault[];
}

/** `control`: the path of the control socket at work. Throws ConfigError with every fault. */
export function readNextConfig(request: ConfigRequest, setup: Setup, control: string | undefined): NextConfig {
  // The demo has made its own port and certificate, and reads no file.
  if (request.demo === true) return { config: setup.config, warnings: [] };
  const reading = readConfig(request);
  const held = new Set([...setup.passed.keys()].map((name) => name.slice('listener:'.length)));
  for (const { addresses } of setup.config.listeners) for (const address of addresses) held.add(address);
  if (control !== undefined) held.add(`unix:${control}`);
  const { faults } = examine(reading, { ports: true, starting: true, held });
  // Only the data: what is loaded also knows its source text.
  const config = reading.config && (JSON.parse(JSON.stringify(reading.config)) as Config);
  const more = config === undefined ? [] : complaints(setup.config, config).map(reading.locate);
  const all = sortFaults([...faults, ...more]);
  if (config === undefined || all.some(({ severity }) => severity === 'fault')) throw new ConfigError(all);
  return { config, warnings: all };
}

function complaints(before: Config, after: Config): readonly Complaint[] {
  const later = changesOf(before, after, []).later.map((key): Complaint => {
    const path: Path = key.split('.');
    const message = `"${key}" does not change what is running`;
    const hint = 'it holds from the next start on';
    return { severity: 'warning', code: 'ERR_CONFIG_RELOAD', path, message, hint };
  });
  return [...later, ...v6OnlyComplaints(before, after)];
}

/** IPV6_V6ONLY is fixed once a socket is bound (ipv6(7)), and the socket stays. */
function v6OnlyComplaints(before: Config, after: Config): readonly Complaint[] {
  const old = new Map(before.listeners.flatMap(({ addresses, v6Only }) => addresses.map((each) => [each, v6Only])));
  return after.listeners.flatMap(({ addresses, v6Only }, index) => {
    const address = addresses.find((each) => /^(\*|\[)/.test(each) && (old.get(each) ?? v6Only) !== v6Only);
    if (address === undefined) return [];
    const message = `"v6_only" of ${address} can not change while its socket is open`;
    const hint = 'start the service anew, or reload twice: without this listener, then with it';
    return [{ code: 'ERR_CONFIG_RELOAD', path: ['listeners', index, 'v6_only'], message, hint }];
  });
}
