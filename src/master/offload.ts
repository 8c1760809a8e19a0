// SPDX-License-Identifier: MIT
// What the kernel does for the sessions of this service, said once by each master, before it starts a worker.
import { release } from 'node:os';
import type { Config } from '../config/config.ts';
import { engineChoices, engineOf, reasonsOf } from '../config/offload.ts';
import { native } from '../native.ts';
import { log } from '../observe/log.ts';

/** Asks the kernel only where a listener wants it. As root that makes the kernel load its TLS module, which the worker may not. */
export function logOffload({ listeners }: Config): void {
  const wanted = listeners.some(({ offload }) => offload !== 'userspace');
  const kernel = wanted ? native.probeKernel() : undefined;
  const choices = listeners.flatMap((listener) => engineChoices(listener, kernel));
  log('info', 'offload', {
    kernel: release(),
    tls12: engineOf(choices, '1.2'),
    tls13: engineOf(choices, '1.3'),
    reason: reasonsOf(choices),
  });
}
