// SPDX-License-Identifier: MIT
// From the configuration and its descriptors to what a worker is told.
import type { ListenerPlan } from '../native.ts';
import type { WorkerPlan } from '../worker/messages.ts';
import { filesOf } from './certificates.ts';
import type { Listener } from './listeners.ts';
import { certificateFor, type Setup } from './setup.ts';

export interface PlanParts {
  readonly setup: Setup;
  readonly revision: number;
  readonly ticketKeysFd: number;
  readonly accepting: boolean;
  readonly logFd: number;
}

export function planFor(id: number, { setup, revision, ticketKeysFd, accepting, logFd }: PlanParts): WorkerPlan {
  const { config, identity } = setup;
  const { logLevel, handshakeThreads, relayThreads, keyUpdateRecords, kernelDirections, maxConnections } = config;
  const listeners = setup.listeners.map((listener, index) => listenerPlan(index, listener, setup));
  const plan = { listeners, maxConnections, ticketKeysFd: config.tickets ? ticketKeysFd : -1 };
  const tests = { keyUpdateRecords, kernelDirections };
  return {
    id,
    revision,
    logLevel,
    identity,
    handshakeThreads,
    relayThreads,
    ...tests,
    plan,
    accepting,
    logFd,
    countersFd: -1,
  };
}

function listenerPlan(id: number, listener: Listener, setup: Setup): ListenerPlan {
  const { name, minVersion, maxVersion, ciphers, alpn, backend, proxyProtocol, onTruncation } = listener.config;
  const { handshakeMs, connectMs, idleMs, halfClosedMs, offload, offloadAfter } = listener.config;
  const certificates = filesOf(setup.config, listener.config).map((files) => {
    const { chainFd, keyFd } = certificateFor(setup, files);
    return { chainFd, keyFd };
  });
  return {
    ...{ id, name, fd: listener.fd, certificates },
    ...{ minVersion, maxVersion, ciphers, alpn },
    ...{ backend, backendAddresses: [], proxyProtocol, onTruncation },
    ...{ handshakeMs, connectMs, idleMs, halfClosedMs },
    ...{ offload, offloadAfter },
  };
}
