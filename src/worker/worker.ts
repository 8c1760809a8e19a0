// SPDX-License-Identifier: MIT
// A worker's life: get the plan, give up rights, start the engine, serve, drain, end. It has no files, no rights and no way to start
// anew: without the channel nobody can tell it anything, so when that closes (the master and the keeper are gone) it ends.

import { setTimeout as wait } from 'node:timers/promises';
import { exitCodes } from '../errors.ts';
import { type Engine, type EngineEvent, native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { readCounters } from './counters.ts';
import { type HandoffStep, limitsAt } from './handoff-step.ts';
import { type Link, openLink } from './link.ts';
import { mapDescriptors, type ToMaster, type ToWorker, type WorkerPlan } from './messages.ts';
import { createResolver, type Resolver } from './resolver.ts';

const channelFd = 3;
/** Names that are not resolved by then are resolved while serving. */
const resolveLimitMs = 2_000;
/** For the next session to go to the other worker. */
const giveLimitMs = 2_000;
/** For the first: the other worker may take so long to listen (kListenMs in native/relay/handoff.cc). Then no thread gives any more. */
const firstGiveLimitMs = 10_500;
const givePollMs = 5;
/** Numbers of workers in connection ids (native/connection_id.h). */
const mostWorkers = 2 ** 24;
/** For the alert and the last bytes of ended sessions. */
const endLimitMs = 500;

interface Service {
  readonly engine: Engine;
  resolver: Resolver;
  /** Of the plan at work. */
  revision: number;
  configured: boolean;
  /** By the plan at work. */
  accepting: boolean;
  /** Nothing is accepted any more, and no other plan taken. */
  draining: boolean;
  /** Sessions that were ended before they had. */
  cut: number;
  /** For tests. */
  pauseAt?: HandoffStep | undefined;
}

export function startWorker(): void {
  native.hardenProcess();
  let service: Service | undefined;
  const link: Link<ToMaster> = openLink<ToMaster, ToWorker>({
    fd: channelFd,
    onMessage: (message, fds) => {
      service = obey(link, service, message, fds);
    },
    onClose: () => {
      log('error', 'system_error', { error_msg: 'the worker ends', error_desc: 'the keeper is gone' });
      process.exit(exitCodes.ok);
    },
    onMismatch: (error) => fail(link, error),
    onLost: () => {
      // It was the plan, then, and there are no sessions yet.
      if (service === undefined) fail(link, 'the plan can not be read');
      link.send({ type: 'lost' });
    },
  });
}

function obey(
  link: Link<ToMaster>,
  service: Service | undefined,
  message: ToWorker,
  fds: readonly number[],
): Service | undefined {
  switch (message.type) {
    case 'plan':
      return start(link, message, fds);
    case 'reconfigure':
      void reconfigure(
        link,
        service,
        mapDescriptors(message, (index) => fds[index] ?? -1),
      );
      return service;
    case 'inventory':
      service?.engine.takeInventory();
      return service;
    case 'give':
      if (service?.configured) {
        give(link, service, message.pauseAt).catch((error) =>
          log('error', 'system_error', failure("can't tell what became of the sessions", error)),
        );
      }
      return service;
    case 'take':
      take(service, fds, message.pauseAt);
      return service;
    case 'master':
      if (service?.configured) {
        const { revision, accepting } = service;
        link.send({ type: 'status', state: 'serving', revision, accepting });
      } else link.send({ type: 'status', state: service === undefined ? 'waiting' : 'starting' });
      return service;
    case 'drain':
      // Before the plan is at work there is nothing to drain.
      if (!service?.configured) process.exit(exitCodes.ok);
      service.draining = true;
      service.engine.stopAccepting();
      return service;
    case 'end':
      end(link, service);
      return service;
    case 'reopen_log':
      for (const fd of fds) native.reopenLog({ fd });
      return service;
    default:
      // A newer master's: what we don't know costs no session.
      for (const fd of fds) native.closeFd({ fd });
      return service;
  }
}

/** Takes the plan step by step; the first that fails is told to the master, and is the end. */
function start(link: Link<ToMaster>, message: WorkerPlan, fds: readonly number[]): Service | undefined {
  const worker = mapDescriptors(message, (index) => fds[index] ?? -1);
  try {
    native.openLog({ fd: worker.logFd, level: worker.logLevel, processType: 'worker' });
    if (worker.identity !== undefined) native.dropPrivileges(worker.identity);
    const engine = native.createEngine({
      worker: worker.id % mostWorkers,
      countersFd: worker.countersFd,
      handshakeThreads: worker.handshakeThreads,
      relayThreads: worker.relayThreads,
      keyUpdateRecords: worker.keyUpdateRecords,
      kernelDirections: worker.kernelDirections,
      onEvents: (events) => {
        for (const event of events) react(link, service, event);
      },
    });
    const resolver = createResolver(worker.plan.listeners, (listener, addresses) => {
      if (service.configured) engine.setBackend({ listener, addresses });
    });
    const { revision, accepting } = worker;
    const service: Service = { engine, resolver, revision, accepting, configured: false, draining: false, cut: 0 };
    void configure(link, service, worker);
    return service;
  } catch (error) {
    return fail(link, error instanceof Error ? error.message : String(error));
  }
}

async function configure(link: Link<ToMaster>, service: Service, worker: WorkerPlan): Promise<void> {
  await service.resolver.start(resolveLimitMs);
  try {
    apply(service.engine, worker, service.resolver);
  } catch (error) {
    fail(link, error instanceof Error ? error.message : String(error));
  }
  service.configured = true;
  closeAll(worker);
  link.send({ type: 'ready', revision: worker.revision });
}

/** Another plan beside the one at work, in whose place it comes when all of it can be taken. */
async function reconfigure(link: Link<ToMaster>, service: Service | undefined, worker: WorkerPlan): Promise<void> {
  const { revision } = worker;
  let resolver: Resolver | undefined;
  let error: string | undefined;
  try {
    if (!service?.configured) throw new Error('the worker does not serve yet');
    const { engine } = service;
    const next = createResolver(
      worker.plan.listeners,
      (listener, addresses) => {
        if (service.resolver === next) engine.setBackend({ listener, addresses });
      },
      service.resolver,
    );
    resolver = next;
    await next.start(resolveLimitMs);
    if (service.draining) throw new Error('the worker takes no more connections');
    apply(engine, worker, next);
    service.accepting = worker.accepting;
    native.setLogLevel({ level: worker.logLevel });
    service.resolver.close();
    service.resolver = next;
    service.revision = revision;
  } catch (failure) {
    resolver?.close();
    error = failure instanceof Error ? failure.message : String(failure);
  }
  closeAll(worker);
  // The log is opened again by a message of its own.
  native.closeFd({ fd: worker.logFd });
  link.send({ type: 'reconfigured', revision, ...(error === undefined ? {} : { error }) });
}

/** Without accepting, whoever waits in a queue of ours is still taken; those who come later are another worker's. */
function apply(engine: Engine, worker: WorkerPlan, resolver: Resolver): void {
  const plan = { ...worker.plan, listeners: withAddresses(worker, resolver) };
  if (!worker.accepting) engine.check(plan);
  engine.configure(worker.accepting ? plan : { ...plan, listeners: [] });
}

function withAddresses({ plan }: WorkerPlan, resolver: Resolver) {
  return plan.listeners.map((listener) => ({ ...listener, backendAddresses: resolver.addresses(listener.id) }));
}

async function give(link: Link<ToMaster>, service: Service, pauseAt?: HandoffStep): Promise<void> {
  const { engine } = service;
  service.pauseAt = pauseAt;
  try {
    beginGiving(link, engine, pauseAt);
  } catch (error) {
    const told = failure("can't give the sessions away", error);
    log('error', 'system_error', told);
    link.send({ type: 'given', refusal: told.error_desc });
    return;
  }
  let last = readCounters(engine);
  let movedAt = performance.now();
  // A test that stops it there knows that both sides listen.
  let limitMs = pauseAt === undefined ? firstGiveLimitMs : giveLimitMs;
  const more = () => last.sessions_open > last.sessions_staying && engine.givingThreads() > 0;
  while (more() && performance.now() - movedAt < limitMs) {
    await wait(givePollMs);
    const now = readCounters(engine);
    if (now.sessions_given > last.sessions_given) {
      movedAt = performance.now();
      limitMs = giveLimitMs;
    }
    last = now;
  }
  link.send({ type: 'given', refusal: engine.handoffRefusal() });
}

/** One pair for each relay thread: sessions go from thread to thread, past JavaScript. Throws when there can be none; then all is as before. */
function beginGiving(link: Link<ToMaster>, engine: Engine, pauseAt?: HandoffStep): void {
  const ours: number[] = [];
  const theirs: number[] = [];
  try {
    for (let thread = 0; thread < engine.relayThreads(); thread++) {
      const { a, b } = native.socketPair();
      ours.push(a);
      theirs.push(b);
    }
    link.send({ type: 'giving' }, theirs);
  } catch (error) {
    for (const fd of ours) native.closeFd({ fd });
    throw error;
  } finally {
    // Only the message may hold an end, on its way: the death of either side must be seen at the other.
    for (const fd of theirs) native.closeFd({ fd });
  }
  engine.giveSessions({ fds: ours, ...limitsAt(pauseAt) });
}

function take(service: Service | undefined, fds: readonly number[], pauseAt?: HandoffStep): void {
  if (service?.configured) service.engine.takeSessions({ fds, ...limitsAt(pauseAt) });
  else for (const fd of fds) native.closeFd({ fd });
  if (pauseAt === 'no-batch') log('info', 'upgrade', { paused: true });
}

/** The engine has its own duplicates; the log was taken. */
function closeAll(worker: WorkerPlan): void {
  const all = new Set<number>();
  mapDescriptors(worker, (fd) => all.add(fd) && fd);
  all.delete(worker.logFd);
  for (const fd of all) native.closeFd({ fd });
}

function react(link: Link<ToMaster>, service: Service, event: EngineEvent): void {
  switch (event.type) {
    case 'drained':
      if (service.pauseAt === 'all-given') log('info', 'upgrade', { paused: true });
      else leave(link, service);
      break;
    case 'inventory':
      sendInventory(link, service.engine);
      break;
    case 'backend-failed':
      service.resolver.failed(event.listener);
      break;
  }
}

function sendInventory(link: Link<ToMaster>, engine: Engine): void {
  const fds = engine.inventoryFds();
  try {
    link.send({ type: 'inventory' }, fds);
  } catch (error) {
    // The master waits no longer than it has to.
    for (const fd of fds) native.wipeInventory({ fd });
    log('error', 'system_error', failure("can't tell what sessions there are", error));
  }
  for (const fd of fds) native.closeFd({ fd });
}

/** `drained` ends the process, or else the limit: a peer may not read its alert. */
function end(link: Link<ToMaster>, service: Service | undefined): void {
  if (service === undefined) process.exit(exitCodes.ok);
  service.draining = true;
  service.resolver.close();
  service.engine.stopAccepting();
  service.cut = readCounters(service.engine).sessions_open;
  service.engine.endSessions();
  setTimeout(() => leave(link, service), endLimitMs);
}

function leave(link: Link<ToMaster>, { engine, cut }: Service): never {
  link.send({ type: 'drained', cut });
  engine.close();
  process.exit(exitCodes.ok);
}

function fail(link: Link<ToMaster>, error: string): never {
  log('error', 'system_error', failure('the worker can not serve', new Error(error)));
  link.send({ type: 'failed', error });
  process.exit(exitCodes.internal);
}
