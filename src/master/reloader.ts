// SPDX-License-Identifier: MIT
// Reload: the configuration and the certificates are read again, checked in full, opened beside what is at work, and taken by the worker
// as a whole. Until then nothing has changed; a fault anywhere leaves it so. Sessions keep what they were accepted under.
import type { CertificateFiles } from '../config/config.ts';
import { parseConfigArguments } from '../config/flags.ts';
import { RetryError } from '../errors.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { certificateKey, entriesOf, logCertificate, onlyIn } from './certificates.ts';
import { changesOf } from './changes.ts';
import { changeLog } from './log-file.ts';
import { logOffload } from './offload.ts';
import { readNextConfig } from './reload-check.ts';
import { logDone, logRefused, logWarnings, type ReloadReport, type ReloadTrigger } from './reload-report.ts';
import type { Service } from './service.ts';
import { closeSetup, identityOf, keepSetup, openNextSetup, type Setup } from './setup.ts';
import { monotonicMs } from './state.ts';
import { openTicketKeys } from './ticket-keys.ts';

export class Reloader {
  readonly #service: () => Service;
  readonly #args: readonly string[];
  #last: Promise<unknown> = Promise.resolve();
  #running = 0;

  /** `args` are those of `run`. */
  constructor(service: () => Service, args: readonly string[]) {
    this.#service = service;
    this.#args = args;
  }

  /** Whether one is under way or waits. */
  get busy(): boolean {
    return this.#running > 0;
  }

  /** Reads everything again. One after the other; throws why it was refused, which the log has then as well. */
  reload(trigger: ReloadTrigger): Promise<ReloadReport> {
    const { notices } = this.#service();
    return notices.around('reload', () => this.#inTurn(() => this.#take(trigger, () => true, true)));
  }

  /** Reads only these pairs of files again. */
  renew(pairs: readonly CertificateFiles[]): Promise<ReloadReport> {
    const keys = new Set(pairs.map(certificateKey));
    return this.#inTurn(() => this.#take('certificates', (files) => keys.has(certificateKey(files)), false));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#running++;
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => {});
    try {
      return await mine;
    } finally {
      this.#running--;
    }
  }

  async #take(
    trigger: ReloadTrigger,
    renew: (files: CertificateFiles) => boolean,
    readConfig: boolean,
  ): Promise<ReloadReport> {
    const service = this.#service();
    const started = monotonicMs();
    const { setup } = service;
    try {
      refuseUnlessServing(service);
      const request = parseConfigArguments(this.#args);
      const { config, warnings } = readConfig
        ? readNextConfig(request, setup, service.control)
        : { config: setup.config, warnings: [] };
      const identity = readConfig ? identityOf(config) : setup.identity;
      const next = openNextSetup(setup, { config, identity }, renew);
      const loaded = onlyIn(next.certificates, setup.certificates);
      const renewed = loaded.filter(({ files }) => setup.certificates.has(certificateKey(files)));
      const changes = changesOf(
        setup.config,
        config,
        renewed.map(({ files }) => files),
      );
      if (loaded.length === 0 && JSON.stringify(config) === JSON.stringify(setup.config)) {
        // Nothing to tell of files that were only touched.
        if (!readConfig) return { trigger, changes, warnings, durationMs: monotonicMs() - started };
      } else await switchTo(service, next);
      logWarnings(warnings);
      for (const certificate of loaded) logCertificate(certificate);
      const report = { trigger, changes, warnings, durationMs: monotonicMs() - started };
      service.state.update({ lastReload: logDone(report) });
      return report;
    } catch (error) {
      service.state.update({ lastReload: logRefused(trigger, error) });
      throw error;
    }
  }
}

function refuseUnlessServing({ state, reloadRefusal }: Service): void {
  const reason = state.current.drainUntilMs === undefined ? reloadRefusal() : 'the service is stopping';
  if (reason !== undefined) throw new RetryError(`no reload now: ${reason}`, { hint: 'try again when that is over' });
}

/** The worker first, since it may refuse; then what the keeper holds and the state, by which a later master goes on. */
async function switchTo(service: Service, next: Setup): Promise<void> {
  const { keeper, state, workers, setup: before } = service;
  const revision = state.current.revision + 1;
  try {
    if (next.config.tickets && service.ticketKeysFd === -1) service.ticketKeysFd = openTicketKeys(keeper, state);
    await workers.apply(next, revision);
    // A stop that has begun meanwhile has closed the old sockets already.
    refuseUnlessServing(service);
  } catch (error) {
    closeSetup(next, before);
    throw error;
  }
  service.setup = next;
  keepSetup(next, before, keeper);
  const { config, identity } = next;
  state.update({ config, identity, revision, certificates: entriesOf(next.certificates) });
  closeSetup(before, next, keeper);
  followLog(service, before);
  if (JSON.stringify(before.config.listeners) !== JSON.stringify(config.listeners)) logOffload(config);
}

/** Level and file of the log, in this process and in the worker, which has the level by its plan. */
function followLog(service: Service, before: Setup): void {
  const { logLevel, logFile } = service.setup.config;
  if (logLevel !== before.config.logLevel) native.setLogLevel({ level: logLevel });
  if (logFile === before.config.logFile) return;
  try {
    const fd = changeLog(logFile, service.keeper);
    service.workers.reopenLog(fd);
    native.closeFd({ fd: service.logFd });
    service.logFd = fd;
  } catch (error) {
    // It could be opened when it was checked. The old file goes on, and USR1 tries again.
    log('error', 'system_error', failure("can't open the new log", error));
  }
}
