// SPDX-License-Identifier: MIT
// A master's life, top to bottom: meet the keeper, know the configuration, have the log, the listeners, the certificates and the ticket
// keys, have a worker, be ready; then signals. The first master makes all that; one that follows a dead master finds it at the
// keeper, in the state and by name, and takes over the running worker. The code is the same: what is held is used, the rest is made.
import { constants, release } from 'node:os';
import { report } from '../commands/program.ts';
import { packageVersion } from '../commands/version.ts';
import type { Config } from '../config/config.ts';
import { parseConfigArguments } from '../config/flags.ts';
import { loadConfig } from '../config/load.ts';
import { ExpectedError, exitCodes } from '../errors.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { type Candidacy, followPeer, openCandidacy } from '../upgrade/candidate.ts';
import { hurry, leave } from '../upgrade/leave.ts';
import { defaultTimeoutMs, Upgrader } from '../upgrade/upgrader.ts';
import { CertificateWatch } from './certificate-watch.ts';
import { entriesOf, filesOf, logCertificate } from './certificates.ts';
import { openControl, removeControl } from './control.ts';
import { demoInvitation, prepareDemo, removeDemo, startDemo } from './demo.ts';
import { type Keeper, meetKeeper, signalName } from './keeper.ts';
import { closeListeners } from './listeners.ts';
import { openLog, reopenLog } from './log-file.ts';
import { Notices } from './notices.ts';
import { logOffload } from './offload.ts';
import { planFor } from './plan.ts';
import { Reloader } from './reloader.ts';
import type { Service } from './service.ts';
import { identityOf, openSetup } from './setup.ts';
import { type FirstState, monotonicMs, openState, type StateStore } from './state.ts';
import { Tally } from './tally.ts';
import { openTicketKeys } from './ticket-keys.ts';
import { type NextSetup, type WorkerEnd, Workers } from './workers.ts';

/** After `end`, before SIGKILL. */
const endLimitMs = 2_000;

/** The other master of an upgrade, where it wants to hear of the workers that are started here. */
interface Peer {
  started?: Candidacy['started'] | undefined;
}

/** Settles when clients are served. What fails before that ends the process; the keeper then ends with the same code. */
export async function startMaster(args: readonly string[]): Promise<void> {
  const debug = args.includes('--debug');
  process.on('uncaughtException', (error) => {
    const what = error instanceof ExpectedError ? "the service can't start" : 'internal error';
    log('fatal', 'system_error', failure(what, error));
    process.exit(report(error, debug));
  });
  native.hardenProcess();
  const keeper = await meetKeeper();
  if (keeper.role === 'candidate') return startCandidate(keeper, args);
  const state = openState(keeper, () => firstState(args));
  const peer: Peer = {};
  const service = await build(keeper, state, args, peer);
  // A first master is ready when clients are served; a later one as soon as it can be told to stop.
  if (keeper.start > 0) keeper.ready();
  peer.started = followPeer(service);
  if (keeper.role === 'leaving') return leave(service);
  await startDemo(state, keeper);
  openControl(service);
  if (state.current.drainUntilMs !== undefined) return stop(service);
  await service.workers.started;
  watchCertificates(service);
  if (keeper.start === 0) keeper.ready();
  announce(service);
}

/** Ready without a client; the rest follows when it is made the one that serves. */
async function startCandidate(keeper: Keeper, args: readonly string[]): Promise<void> {
  const candidacy = openCandidacy(keeper);
  try {
    const state = openState(keeper, () => firstState(args));
    const service = await build(keeper, state, args, candidacy);
    const expected = await candidacy.stand(service);
    // It is asked again, and one that comes in its place accepts as well.
    await service.workers.accept(true, expected).catch(() => {});
    candidacy.serving();
    await startDemo(state, keeper);
    openControl(service);
    watchCertificates(service);
    announce(service);
  } catch (error) {
    candidacy.failed(error);
    throw error;
  }
}

/** From the arguments of `run`, which it has checked before there was a keeper. */
function firstState(args: readonly string[]): FirstState {
  // Only the data: the loaded configuration also knows its source text.
  const config = JSON.parse(JSON.stringify(loadConfig(parseConfigArguments(args)))) as Config;
  const identity = identityOf(config);
  return config.demo ? { identity, ...prepareDemo(config, identity) } : { identity, config };
}

async function build(keeper: Keeper, state: StateStore, args: readonly string[], peer: Peer): Promise<Service> {
  const { config, drainUntilMs } = state.current;
  const logFd = openLog(config, keeper);
  logStart(config, args, keeper.start);
  logOffload(config);
  const setup = openSetup(state.current, keeper);
  if (keeper.start === 0) for (const certificate of setup.certificates.values()) logCertificate(certificate);
  const ticketKeysFd = config.tickets ? openTicketKeys(keeper, state) : -1;
  state.update({ certificates: entriesOf(setup.certificates) });
  const planOf = (id: number, accepting: boolean, next?: NextSetup) =>
    planFor(id, { ...partsOf(service), accepting, ...next });
  const tally = new Tally(keeper, state);
  const workers = new Workers({
    ...{ keeper, state, tally, plan: planOf },
    onSpawn: (worker) => peer.started?.(worker, tally),
  });
  const reloader = new Reloader(() => service, args);
  const upgrader = new Upgrader(
    () => service,
    args,
    (standby, told) => void leave(service, { standby, told }),
  );
  const reloadRefusal = () => (upgrader.running ? 'an upgrade is under way' : undefined);
  const open = { setup, logFd, ticketKeysFd, control: undefined, closeControl: async () => {}, reloadRefusal };
  const notices = new Notices(keeper, state);
  const service: Service = { keeper, state, tally, workers, reloader, upgrader, notices, ...open };
  keeper.onSignal = (signal, sender) => onSignal(service, signal, sender);
  if (drainUntilMs === undefined && keeper.role !== 'leaving') workers.start(false);
  return service;
}

function partsOf({ setup, state, ticketKeysFd, logFd }: Service) {
  return { setup, revision: state.current.revision, ticketKeysFd, logFd };
}

/** Of the setup at work; the demo's certificate is in no file. */
function watchCertificates(service: Service): void {
  new CertificateWatch({
    files: () => {
      const { config } = service.setup;
      const { keeper, state } = service;
      const ending = state.current.drainUntilMs !== undefined || keeper.role === 'leaving';
      if (config.demo || ending) return [];
      return config.listeners.flatMap((listener) => filesOf(config, listener));
    },
    // After an upgrade it is the other version that looks, or we if it has failed.
    paused: () => service.upgrader.running,
    renew: (pairs) => service.reloader.renew(pairs),
  });
}

function logStart(config: Config, args: readonly string[], start: number): void {
  const { node, openssl = '' } = process.versions;
  const argv = ['ironsocket', 'run', ...args].join(' ');
  log('info', 'startup', { argv, version: packageVersion(), openssl, node, kernel: release() });
  if (start > 0) return;
  const pairs = config.listeners.flatMap(({ certificates }) => certificates);
  log('info', 'config_loaded', {
    file: config.file ?? 'flags',
    listeners: config.listeners.map(({ name }) => name).join(','),
    nworkers: 1,
    certchain: [...new Set(pairs.map(({ cert }) => cert))].join(','),
    cacerts: '',
    servcert: '',
    servkey: [...new Set(pairs.map(({ key }) => key))].join(','),
  });
  if (process.geteuid?.() === 0 && (config.user === 'root' || config.user === '0')) {
    const error_desc = 'leave "user" out, or set it to an account without rights';
    log('warn', 'system_error', { error_msg: 'the worker runs as root', error_desc });
  }
}

function announce({ setup: { listeners }, state, notices }: Service): void {
  log('info', 'ready', { addresses: listeners.map(({ address }) => address).join(',') });
  notices.serving();
  if (state.current.config.demo) process.stderr.write(demoInvitation(listeners[0]?.address ?? ''));
}

function onSignal(service: Service, signal: number, sender: number): void {
  log('info', 'signal_received', { signal_num: signal, signal_string: signalName(signal), recvd_from: sender });
  const { SIGTERM, SIGINT, SIGUSR1, SIGHUP } = constants.signals;
  if (signal === SIGTERM || signal === SIGINT) {
    if (service.keeper.role === 'leaving') hurry(service);
    else if (service.state.current.drainUntilMs === undefined) void stop(service);
    else service.workers.end();
  } else if (signal === SIGUSR1) {
    rotateLog(service);
    // Whether these two are refused or fail, and why, is in the log.
  } else if (signal === SIGHUP) {
    service.reloader.reload('signal').catch(() => {});
  } else {
    const request = { trigger: 'signal', check: false, timeoutMs: defaultTimeoutMs } as const;
    service.upgrader.upgrade(request, () => {}).catch(() => {});
  }
}

function rotateLog(service: Service): void {
  const { config } = service.state.current;
  try {
    const fd = reopenLog(config, service.keeper);
    if (fd === undefined) return;
    service.workers.reopenLog(fd);
    native.closeFd({ fd: service.logFd });
    service.logFd = fd;
    log('info', 'log_reopened', { file: config.logFile });
  } catch (error) {
    // The old file goes on.
    log('error', 'system_error', failure("can't open the log again", error));
  }
}

function logStopped({ totals }: Tally, told: WorkerEnd | undefined): void {
  const cut = told?.cut ?? 0;
  log(cut > 0 ? 'warn' : 'info', 'stopped', {
    sessions_total: totals.sessions_total,
    sessions_cut: cut,
    offloads_refused: totals.offloads_refused || undefined,
    rekeys_impossible: totals.rekeys_impossible || undefined,
  });
}

/**
 * The orderly end. Our copies of the listeners go first, so that the worker, which empties the accept queues, has the last ones:
 * what it does not accept is refused by the kernel instead of waiting for nobody.
 */
async function stop(service: Service): Promise<void> {
  const { keeper, state, setup, workers } = service;
  const { config } = state.current;
  const resumed = state.current.drainUntilMs !== undefined;
  const untilMs = state.current.drainUntilMs ?? monotonicMs() + config.drainMs;
  state.update({ drainUntilMs: untilMs });
  closeListeners(setup.listeners, new Map(), keeper);
  const limitMs = Math.max(0, untilMs - monotonicMs());
  log('info', 'draining', { limit_ms: limitMs });
  keeper.draining(limitMs);
  if (resumed) workers.start(true);
  else workers.stop();
  const limits = [setTimeout(() => workers.end(), limitMs), setTimeout(() => workers.kill(), limitMs + endLimitMs)];
  const told = await workers.ended;
  for (const limit of limits) clearTimeout(limit);
  removeDemo(state);
  removeControl(service);
  logStopped(service.tally, told);
  keeper.exit(exitCodes.ok);
  process.exit(exitCodes.ok);
}
