// SPDX-License-Identifier: MIT
// The candidate's side of an upgrade: it has all that the serving master has, binds nothing, accepts nobody, and waits for the commit.
import type { Keeper } from '../master/keeper.ts';
import type { Service } from '../master/service.ts';
import { native } from '../native.ts';
import { type Link, openLink } from '../worker/link.ts';
import { addCounters } from './counters.ts';
import { peerName, type ToCandidate, type ToServing } from './peer.ts';

export interface Candidacy {
  /** Last words of a candidate that can't serve. */
  failed(error: unknown): void;
  /** Waits for the worker and then for the commit. Rejects when the worker does not get ready. */
  stand(service: Service): Promise<void>;
  /** After the commit, when clients are served. */
  serving(): void;
}

export function openCandidacy(keeper: Keeper): Candidacy {
  const fd = keeper.held.get(peerName);
  if (fd === undefined) throw new Error('the keeper holds no channel to the serving master');
  let service: Service | undefined;
  const link = openPeer(keeper, fd, () => service);
  return {
    failed: (error) => link.send({ type: 'failed', error: error instanceof Error ? error.message : String(error) }),
    stand: async (own) => {
      service = own;
      const committed = new Promise<void>((resolve) => {
        keeper.onRole = (role) => {
          if (role === 'serving') resolve();
        };
      });
      await own.workers.started;
      keeper.ready();
      link.send({ type: 'ready', workerPid: own.workers.serving?.pid ?? 0 });
      await committed;
      keeper.onRole = () => {};
    },
    serving: () => link.send({ type: 'serving' }),
  };
}

/** The rest of a commit, for a master that follows one which died soon after its own: what the one that leaves still says. */
export function followPeer(service: Service): void {
  const { keeper, workers } = service;
  const fd = keeper.held.get(peerName);
  if (fd === undefined) return;
  const link = openPeer(keeper, fd, () => service);
  // Again, if the dead one had said it.
  void workers.started.then(() => link.send({ type: 'serving' }));
}

function openPeer(keeper: Keeper, fd: number, service: () => Service | undefined): Link<ToServing> {
  return openLink<ToServing, ToCandidate>({
    fd,
    onMessage: (message, fds) => {
      const own = service();
      try {
        if (own !== undefined) obey(own, message, fds);
      } finally {
        for (const each of fds) native.closeFd({ fd: each });
      }
    },
    // Before the commit the keeper ends us; after it, nothing is missing.
    onClose: () => keeper.drop(peerName),
    onMismatch: () => {},
  });
}

function obey({ state, workers }: Service, message: ToCandidate, fds: readonly number[]): void {
  if (message.type === 'take') workers.take(fds, message.pauseAt);
  if (message.type === 'report') state.update({ lastUpgrade: message.report });
  if (message.type === 'left') {
    state.update({ countersBefore: addCounters(message.counters, state.current.countersBefore) });
  }
}
