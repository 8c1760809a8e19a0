// SPDX-License-Identifier: MIT
// A worker's life: get the plan, give up rights, start the engine, serve, drain, end. It has no files, no rights and no way to start
// anew: without the channel nobody can tell it anything, so when that closes (the master and the keeper are gone) it ends.

import { exitCodes } from '../errors.ts';
import { type Engine, type EngineEvent, native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { readCounters } from './counters.ts';
import { type Link, openLink } from './link.ts';
import { mapDescriptors, type ToMaster, type ToWorker, type WorkerPlan } from './messages.ts';
import { createResolver, type Resolver } from './resolver.ts';

const channelFd = 3;
/** Names that are not resolved by then are resolved while serving. */
const resolveLimitMs = 2_000;
/** For the alert and the last bytes of ended sessions. */
const endLimitMs = 500;

interface Service {
  readonly engine: Engine;
  readonly resolver: Resolver;
  configured: boolean;
  /** Sessions that were ended before they had. */
  cut: number;
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
    case 'master':
      link.send({
        type: 'status',
        state: service === undefined ? 'waiting' : service.configured ? 'serving' : 'starting',
      });
      return service;
    case 'drain':
      // Before the plan is at work there is nothing to drain.
      if (!service?.configured) process.exit(exitCodes.ok);
      service.engine.stopAccepting();
      return service;
    case 'end':
      end(link, service);
      return service;
    case 'reopen_log':
      for (const fd of fds) native.reopenLog({ fd });
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
    const service: Service = { engine, resolver, configured: false, cut: 0 };
    void configure(link, service, worker);
    return service;
  } catch (error) {
    return fail(link, error instanceof Error ? error.message : String(error));
  }
}

async function configure(link: Link<ToMaster>, service: Service, worker: WorkerPlan): Promise<void> {
  await service.resolver.start(resolveLimitMs);
  const listeners = worker.plan.listeners.map((listener) => ({
    ...listener,
    backendAddresses: service.resolver.addresses(listener.id),
  }));
  try {
    service.engine.configure({ ...worker.plan, listeners });
  } catch (error) {
    fail(link, error instanceof Error ? error.message : String(error));
  }
  service.configured = true;
  closeAll(worker);
  link.send({ type: 'ready' });
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
      leave(link, service);
      break;
    case 'backend-failed':
      service.resolver.failed(event.listener);
      break;
  }
}

/** `drained` ends the process, or else the limit: a peer may not read its alert. */
function end(link: Link<ToMaster>, service: Service | undefined): void {
  if (service === undefined) process.exit(exitCodes.ok);
  service.resolver.close();
  service.engine.stopAccepting();
  service.cut = readCounters(service.engine).sessions_open;
  service.engine.endSessions();
  setTimeout(() => leave(link, service), endLimitMs);
}

function leave(link: Link<ToMaster>, { engine, cut }: Service): never {
  link.send({ type: 'drained', counters: readCounters(engine), cut });
  engine.close();
  process.exit(exitCodes.ok);
}

function fail(link: Link<ToMaster>, error: string): never {
  log('error', 'system_error', failure('the worker can not serve', new Error(error)));
  link.send({ type: 'failed', error });
  process.exit(exitCodes.internal);
}
