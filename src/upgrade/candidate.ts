// SPDX-License-Identifier: MIT
// The candidate's side of an upgrade: it has all that the serving master has, binds nothing, accepts nobody, and waits for the commit.
import { packageVersion } from '../commands/version.ts';
import type { Keeper } from '../master/keeper.ts';
import type { Service } from '../master/service.ts';
import type { Tally } from '../master/tally.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { within } from '../time-limit.ts';
import { knownCounters } from '../worker/counters.ts';
import { type Link, openLink } from '../worker/link.ts';
import { settledAccount, untilStuck } from './handoff.ts';
import { candidateShapes, type PeerWorker, peerName, type ToCandidate, type ToServing } from './peer.ts';
import type { UpgradeSummary } from './report.ts';
import { type Testimony, Witness } from './witness.ts';

/** For what the other master has sent before it committed. */
const tellLimitMs = 1_000;

export interface Candidacy {
  /** Last words of a candidate that can't serve. */
  failed(error: unknown): void;
  /** It has started a worker. */
  started(worker: PeerWorker, tally: Tally): void;
  /**
   * Waits for the worker and then for the commit. Gives the number of connections that the old worker is about to hand over. Rejects when
   * the worker does not get ready.
   */
  stand(service: Service): Promise<number>;
  /** After the commit, when clients are served. */
  serving(): void;
}

/** What this side knows of the upgrade, should the other one not get to tell. */
interface Books {
  readonly takers: Witness[];
  donor: Witness | undefined;
  known: Pick<UpgradeSummary, 'from' | 'trigger'> | undefined;
  took: boolean;
  /** It has been told. */
  done: boolean;
}

export function openCandidacy(keeper: Keeper): Candidacy {
  const fd = keeper.held.get(peerName);
  if (fd === undefined) throw new Error('the keeper holds no channel to the serving master');
  const books: Books = { takers: [], donor: undefined, known: undefined, took: false, done: false };
  const told = Promise.withResolvers<void>();
  let service: Service | undefined;
  const { link, isOpen } = openPeer(keeper, fd, books, () => service, told.resolve);
  return {
    failed: (error) => link.send({ type: 'failed', error: error instanceof Error ? error.message : String(error) }),
    started: (worker, tally) => {
      if (isOpen() && !books.done) introduce(link, books, worker, tally);
    },
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
      // It was sent before the commit, but not by the same way.
      await within(told.promise, tellLimitMs, () => undefined);
      return books.donor?.read().counters.connections_open ?? 0;
    },
    serving: () => link.send({ type: 'serving' }),
  };
}

/**
 * The rest of a commit, for a master that follows one which died soon after its own: what the one that leaves still says. Gives what is
 * to be called when it starts a worker.
 */
export function followPeer(service: Service): Candidacy['started'] | undefined {
  const { keeper, state, tally, workers } = service;
  const fd = keeper.held.get(peerName);
  if (fd === undefined) return undefined;
  const books: Books = { takers: [], donor: undefined, known: undefined, took: false, done: false };
  const { link, isOpen } = openPeer(keeper, fd, books, () => service);
  const started: Candidacy['started'] = (worker) => {
    if (isOpen() && !books.done) introduce(link, books, worker, tally);
  };
  // Both again, if the dead one had said it.
  if (state.current.worker !== undefined) started(state.current.worker, tally);
  void workers.started.then(() => link.send({ type: 'serving' }));
  return started;
}

/** The other master follows what it counts. */
function introduce(link: Link<ToServing>, books: Books, worker: PeerWorker, tally: Tally): void {
  unlessShort(() => {
    const taker = Witness.of(tally, worker);
    if (taker === undefined) return;
    books.takers.push(taker);
    link.send({ type: 'worker', worker }, [taker.page, taker.pidfd]);
  });
}

/** `told` is called when the other master has said what there is at the commit, or can't any more. */
function openPeer(keeper: Keeper, fd: number, books: Books, service: () => Service | undefined, told = (): void => {}) {
  let open = true;
  const link = openLink<ToServing, ToCandidate>({
    fd,
    onMessage: (message, fds) => {
      const own = service();
      const kept = own === undefined ? [] : obey(own, books, message, fds);
      for (const each of fds) if (!kept.includes(each)) native.closeFd({ fd: each });
      if (message.type === 'committing') told();
    },
    // Before the commit the keeper ends us; after it, only the report may be missing.
    onClose: () => {
      open = false;
      told();
      keeper.drop(peerName);
      const own = service();
      if (own !== undefined) void tellInstead(own, books);
    },
    onMismatch: (error) => log('error', 'system_error', failure("can't follow the other master", new Error(error))),
    shapes: candidateShapes,
  });
  return { link, isOpen: () => open };
}

/** Gives the descriptors that have a new owner. */
function obey(
  { state, tally, workers }: Service,
  books: Books,
  message: ToCandidate,
  fds: readonly number[],
): readonly number[] {
  switch (message.type) {
    case 'committing': {
      const { from, trigger, nextWorkerId, ticketKeysRotatedAtMs } = message;
      if (nextWorkerId !== undefined) state.update({ nextWorkerId });
      if (ticketKeysRotatedAtMs !== undefined) state.update({ ticketKeysRotatedAtMs });
      for (const [index, { id, pid }] of message.workers.entries()) {
        const [page, pidfd] = fds.slice(2 * index, 2 * index + 2);
        if (page !== undefined && pidfd !== undefined) unlessShort(() => tally.add(id, pid, page, pidfd));
      }
      for (const { id, counters } of message.ended ?? []) tally.addEnded(id, knownCounters(counters));
      books.known = { from, trigger };
      const donor = message.workers.find(({ id }) => id === message.donor);
      books.donor = unlessShort(() => Witness.of(tally, donor));
      return fds;
    }
    case 'take': {
      const taker = workers.serving;
      if (taker !== undefined) tally.moving(message.donor, taker.id);
      try {
        workers.take(fds, message.pauseAt);
        books.took = true;
      } catch (error) {
        // The other worker sees that nobody has the other ends, and gives up.
        log('error', 'system_error', failure('the worker can not be told of the sessions', error));
      }
      return [];
    }
    case 'report':
      state.update({ lastUpgrade: message.report });
      forget(books);
      return [];
    default:
      // A version that knows more may say it.
      return [];
  }
}

/** What can't be followed for want of a descriptor is missing in reports, and nothing more. */
function unlessShort<T>(follow: () => T): T | undefined {
  try {
    return follow();
  } catch (error) {
    log('error', 'system_error', failure("can't follow a worker for the report", error));
    return undefined;
  }
}

/** The other master has died with the report untold: what the workers count says it as well. */
async function tellInstead({ state, workers }: Service, books: Books): Promise<void> {
  const { known, donor, takers } = books;
  if (known === undefined) return forget(books);
  books.known = undefined;
  try {
    await workers.started;
    // They go on without the old master.
    if (books.took && donor !== undefined) await untilStuck(donor, hasGiven);
    const sessions = await settledAccount(donor, () => takers);
    const reason = books.took ? sessions.reason : 'the old master died before they could go';
    const told = { ...sessions, ...(sessions.kept > 0 ? { reason } : {}) };
    const at = new Date().toISOString();
    state.update({ lastUpgrade: { at, ...known, outcome: 'committed', to: packageVersion(), sessions: told } });
  } catch (error) {
    log('error', 'system_error', failure("can't tell what became of the sessions", error));
  }
  forget(books);
}

function hasGiven({ alive, counters }: Testimony): boolean {
  return !alive || counters.sessions_open <= counters.sessions_staying;
}

function forget(books: Books): void {
  for (const witness of [...books.takers.splice(0), books.donor]) witness?.close();
  books.donor = undefined;
  books.known = undefined;
  books.done = true;
}
