// SPDX-License-Identifier: MIT
// An upgrade as the serving master runs it: preflight, spawning, switching, committed, handing-off. Up to the commit any failure leaves
// all as it was; after it this master leaves, whatever fails.
import { packageVersion } from '../commands/version.ts';
import { ExpectedError, RetryError } from '../errors.ts';
import { planFor } from '../master/plan.ts';
import type { Service } from '../master/service.ts';
import { monotonicMs } from '../master/state.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { within } from '../time-limit.ts';
import { checkedSessions, refuseUnlessRead } from './examined.ts';
import { moveSessions } from './handoff.ts';
import { findInstallation, type Installation, ownRoot } from './installation.ts';
import { accountFor } from './moved.ts';
import { preflight, type Verdict } from './preflight.ts';
import type { UpgradeReport, UpgradeRequest, UpgradeSummary } from './report.ts';
import {
  handoffStepOf,
  logCommitted,
  logFailed,
  logPhase,
  logRefused,
  type Phase,
  type PhaseReport,
  pausePoint,
} from './report.ts';
import { Standby } from './standby.ts';
import { Witness } from './witness.ts';

export const defaultTimeoutMs = 30_000;
/** For what follows the commit: it has happened, whether we hear of it or not. */
const afterwordsLimitMs = 5_000;
/** Numbers left free for the workers that a candidate starts before the commit, of which it is told what has become of the rest. */
const candidateWorkers = 100;

export class Upgrader {
  readonly #service: () => Service;
  readonly #args: readonly string[];
  readonly #leave: (standby: Standby, told: Promise<void>) => void;
  readonly #done = Promise.withResolvers<void>();
  #phase: Phase | undefined;
  /** The worker whose sessions are to move. */
  #donor: Witness | undefined;
  /** What workers that died before it have lost (Tally). */
  #lostEarlier = 0;

  /** `args` are those of `run`. `leave` is called once, after a commit; `told` settles when the upgrade has told its outcome. */
  constructor(service: () => Service, args: readonly string[], leave: (standby: Standby, told: Promise<void>) => void) {
    this.#service = service;
    this.#args = args;
    this.#leave = leave;
  }

  /** Whether one is under way. */
  get running(): boolean {
    return this.#phase !== undefined;
  }

  /** Throws RetryError with the reason when it fails: then all is as before. `tell` gets each phase that has passed. */
  async upgrade(request: UpgradeRequest, tell: (phase: PhaseReport) => void): Promise<UpgradeReport> {
    this.#refuseUnlessPossible();
    const attempt = () => this.#attempt(request, tell);
    return request.check ? attempt() : this.#service().notices.around('upgrade', attempt);
  }

  async #attempt(request: UpgradeRequest, tell: (phase: PhaseReport) => void): Promise<UpgradeReport> {
    const { state } = this.#service();
    this.#phase = 'preflight';
    try {
      return await this.#run(request, (phase) => {
        logPhase(phase);
        tell(phase);
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const phase = this.#phase;
      logFailed(phase, reason, request.check);
      if (!request.check) state.update({ lastUpgrade: { ...summary(request, 'failed'), phase, reason } });
      const hint = error instanceof ExpectedError ? error.hint : undefined;
      throw new RetryError(`no upgrade, all is as before: ${reason} (${phase})`, { hint, cause: error });
    } finally {
      this.#phase = undefined;
    }
  }

  #refuseUnlessPossible(): void {
    const { state, keeper, reloader, workers } = this.#service();
    const refuse = (reason: string, hint?: string): never => {
      logRefused(reason);
      throw new RetryError(reason, { hint });
    };
    const later = 'try again when that is over';
    if (this.running) refuse('another upgrade is under way', later);
    if (keeper.role !== 'serving') refuse('this version is being replaced', later);
    if (state.current.drainUntilMs !== undefined) refuse('the service is stopping');
    if (reloader.busy) refuse('a reload is under way', later);
    if (workers.serving === undefined) refuse('no worker is at work', 'the log says why');
  }

  async #run(request: UpgradeRequest, tell: (phase: PhaseReport) => void): Promise<UpgradeReport> {
    const service = this.#service();
    const deadline = monotonicMs() + request.timeoutMs;
    const passed: PhaseReport[] = [];
    const pass = async <T>(phase: Phase, work: Promise<T>): Promise<T> => {
      const started = monotonicMs();
      // The commit is the end of switching, and pauses by itself.
      const paused = phase === 'switching' ? work : work.then((done) => pausePoint(request, phase).then(() => done));
      const result = await within(paused, deadline - started, late(phase));
      const report = { phase, ms: monotonicMs() - started };
      passed.push(report);
      tell(report);
      return result;
    };
    const installation = findInstallation(request.to ?? ownRoot);
    const verdict = await pass('preflight', this.#preflight(installation, deadline));
    if (request.check) {
      return { ...reportOf(service, installation, passed, true), check: checkedSessions(service, verdict) };
    }
    refuseUnlessRead(verdict);

    this.#phase = 'spawning';
    const firstWorkerId = service.state.current.nextWorkerId;
    const lostBefore = service.tally.lost;
    const standby = new Standby(service.keeper, installation, this.#args);
    // Its workers count on from the state that it has been given, ours beyond them: no number comes twice.
    const ours = firstWorkerId + candidateWorkers;
    service.state.update({ nextWorkerId: ours });
    let paused = false;
    try {
      await pass('spawning', standby.ready);
      this.#phase = 'switching';
      paused = true;
      await pass('switching', this.#switch(request, standby, ours));
    } catch (error) {
      // The keeper's word counts: it may have committed just when we had enough.
      await standby.end();
      if (service.keeper.role === 'serving') {
        if (service.state.current.nextWorkerId === ours) service.state.update({ nextWorkerId: firstWorkerId });
        this.#closeDonor();
        if (paused) service.workers.accept(true).catch(() => {});
        throw error;
      }
    }
    const report = reportOf(service, installation, passed, false);
    return this.#committed(request, standby, report, this.#lostEarlier - lostBefore, tell);
  }

  async #preflight(installation: Installation, deadline: number): Promise<Verdict> {
    const { setup, state, ticketKeysFd, logFd, workers } = this.#service();
    const parts = { setup, revision: state.current.revision, ticketKeysFd, accepting: false, logFd };
    const sessions = await workers.inventory();
    try {
      return await preflight(installation, planFor(0, parts), sessions, deadline - monotonicMs());
    } finally {
      for (const fd of sessions) {
        native.wipeInventory({ fd });
        native.closeFd({ fd });
      }
    }
  }

  /** The commit is the instant from which on the other worker takes connections; until it does they wait in the queues. */
  async #switch(request: UpgradeRequest, standby: Standby, firstWorkerId: number): Promise<void> {
    const { workers, keeper, state, tally } = this.#service();
    await workers.accept(false);
    refuseIfEnding(standby);
    this.#donor = Witness.of(tally, workers.serving);
    this.#lostEarlier = tally.lost;
    await pausePoint(request, 'switching');
    refuseIfEnding(standby);
    const { nextWorkerId, ticketKeysRotatedAtMs } = state.current;
    // Where we have started none meanwhile, it counts on as it does.
    const started = nextWorkerId > firstWorkerId ? { nextWorkerId } : {};
    const known = { from: packageVersion(), trigger: request.trigger, ticketKeysRotatedAtMs, ...started };
    const living = tally.workers.map(({ id, pid }) => ({ id, pid }));
    const fds = living.flatMap(({ id }) => {
      const found = tally.descriptorsOf(id);
      return found === undefined ? [] : [found.page, found.pidfd];
    });
    const ended = tally.endedFrom(firstWorkerId);
    standby.send({ type: 'committing', ...known, workers: living, ended, donor: this.#donor?.id }, fds);
    keeper.commit();
    await standby.committed;
  }

  #closeDonor(): void {
    this.#donor?.close();
    this.#donor = undefined;
  }

  async #committed(
    request: UpgradeRequest,
    standby: Standby,
    report: UpgradeReport,
    lostMeanwhile: number,
    tell: (phase: PhaseReport) => void,
  ): Promise<UpgradeReport> {
    this.#phase = 'committed';
    this.#leave(standby, this.#done.promise);
    try {
      return await this.#handOff(request, standby, report, lostMeanwhile, tell);
    } finally {
      this.#done.resolve();
    }
  }

  /** What fails now is told, and nothing more: the other version serves. */
  async #handOff(
    request: UpgradeRequest,
    standby: Standby,
    report: UpgradeReport,
    lostMeanwhile: number,
    tell: (phase: PhaseReport) => void,
  ): Promise<UpgradeReport> {
    const started = monotonicMs();
    const afterwords = Promise.all([standby.keeperOutcome, standby.serving]);
    const [outcome] = await within(afterwords, afterwordsLimitMs, late('committed')).catch((error) => {
      log('warn', 'system_error', failure('the new version does not tell that it serves', error));
      return [undefined];
    });
    const last = { phase: 'committed', ms: monotonicMs() - started } as const;
    tell(last);
    const movingSince = monotonicMs();
    this.#phase = 'handing-off';
    const moving = moveSessions(this.#service().workers, standby, this.#donor, handoffStepOf(request));
    const account = await moving.catch((error) => {
      log('error', 'system_error', failure("can't tell what became of the sessions", error));
      return accountFor(undefined, []);
    });
    const sessions = { ...account, lost: account.lost + lostMeanwhile };
    const handedOff = { phase: 'handing-off', ms: monotonicMs() - movingSince } as const;
    tell(handedOff);
    const done = { ...report, sessions, phases: [...report.phases, last, handedOff], keeper: outcome };
    logCommitted(done);
    const { to } = done;
    try {
      standby.send({ type: 'report', report: { ...summary(request, 'committed'), to, sessions } });
    } catch (error) {
      log('error', 'system_error', failure('the new version can not be told of the upgrade', error));
    }
    return done;
  }
}

function reportOf(
  { keeper }: Service,
  { version, root }: Installation,
  phases: readonly PhaseReport[],
  checked: boolean,
): UpgradeReport {
  const generation = keeper.generation + (checked ? 0 : 1);
  const sessions = accountFor(undefined, []);
  return { checked, from: packageVersion(), to: version, path: root, generation, phases, sessions };
}

/** The attempt has failed while this step of it waited. */
function refuseIfEnding({ ending }: Standby): void {
  if (ending) throw new RetryError('switching was not done in time');
}

function summary({ trigger }: UpgradeRequest, outcome: UpgradeSummary['outcome']): UpgradeSummary {
  return { at: new Date().toISOString(), trigger, outcome, from: packageVersion() };
}

function late(phase: Phase): () => never {
  return () => {
    throw new RetryError(`${phase} was not done in time`);
  };
}
