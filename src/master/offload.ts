// SPDX-License-Identifier: MIT
// What the kernel does for the sessions of each listener, said by each master before it starts a worker.
import { release } from 'node:os';
import type { Config } from '../config/config.ts';
import { engineChoices, losesAtRekey, noRekeyWarning, reasonsOf } from '../config/offload.ts';
import { native } from '../native.ts';
import { log } from '../observe/log.ts';

/** Asks the kernel only where a listener wants it. As root that makes the kernel load its TLS module, which the worker may not. */
export function logOffload({ listeners }: Config): void {
  const wanted = listeners.some(({ offload }) => offload !== 'userspace');
  const kernel = wanted ? native.probeKernel() : undefined;
  for (const listener of listeners) {
    const choices = engineChoices(listener, kernel);
    const engineOf = (version: '1.2' | '1.3') => choices.find((choice) => choice.version === version)?.engine;
    log('info', 'offload', {
      listener: listener.name,
      mode: listener.offload,
      after: listener.offloadAfter,
      kernel: release(),
      tls12: engineOf('1.2'),
      tls13: engineOf('1.3'),
      reason: reasonsOf(choices),
    });
    if (!losesAtRekey(listener, kernel)) continue;
    const error_desc = noRekeyWarning.hint('offload: auto');
    log('warn', 'config_warning', { listener: listener.name, error_msg: noRekeyWarning.message, error_desc });
  }
}
