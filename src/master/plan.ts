// SPDX-License-Identifier: MIT
// From the configuration and its descriptors to what a worker is told.
import type { Config } from '../config/config.ts';
import type { Identity, ListenerPlan } from '../native.ts';
import type { WorkerPlan } from '../worker/messages.ts';
import type { LoadedCertificate } from './certificates.ts';
import type { Listener } from './listeners.ts';

export interface PlanParts {
  readonly config: Config;
  readonly identity: Identity | undefined;
  readonly listeners: readonly Listener[];
  readonly certificatesOf: (listener: Listener) => readonly LoadedCertificate[];
  /** -1: no tickets. */
  readonly ticketKeysFd: number;
  readonly logFd: number;
}

export function planFor(id: number, parts: PlanParts): WorkerPlan {
  const { config, identity, listeners, ticketKeysFd, logFd } = parts;
  const { logLevel, handshakeThreads, relayThreads, keyUpdateRecords, kernelDirections, maxConnections } = config;
  const plans = listeners.map((listener, index) => listenerPlan(index, listener, parts));
  const plan = { listeners: plans, maxConnections, ticketKeysFd };
  const tests = { keyUpdateRecords, kernelDirections };
  return { id, logLevel, identity, handshakeThreads, relayThreads, ...tests, plan, logFd };
}

function listenerPlan(id: number, listener: Listener, { certificatesOf }: PlanParts): ListenerPlan {
  const { name, minVersion, maxVersion, ciphers, alpn, backend, proxyProtocol, onTruncation } = listener.config;
  const { handshakeMs, connectMs, idleMs, halfClosedMs, offload, offloadAfter } = listener.config;
  return {
    ...{ id, name, fd: listener.fd, certificates: certificatesOf(listener) },
    ...{ minVersion, maxVersion, ciphers, alpn },
    ...{ backend, backendAddresses: [], proxyProtocol, onTruncation },
    ...{ handshakeMs, connectMs, idleMs, halfClosedMs },
    ...{ offload, offloadAfter },
  };
}
