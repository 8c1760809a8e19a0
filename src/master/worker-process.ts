// SPDX-License-Identifier: MIT
// One worker as the master sees it: started by us, or taken over from a master that died. Its channel and pidfd are also with the
// keeper, under its id, so that it survives us.
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { native } from '../native.ts';
import { openLink } from '../worker/link.ts';
import type { ToMaster, ToWorker } from '../worker/messages.ts';
import type { Keeper, ProcessEnd } from './keeper.ts';
import { workerShapes } from './worker-shapes.ts';

const entry = fileURLToPath(new URL('../worker/main.js', import.meta.url));
/** How long after its pidfd the keeper's word of how an adopted worker ended may come. */
const exitStatusLimitMs = 50;

export interface WorkerEvents {
  /** The descriptors are closed after it. */
  readonly onMessage: (message: ToMaster, fds: readonly number[]) => void;
  /** Once, and last. */
  readonly onEnd: (end: ProcessEnd) => void;
}

export interface WorkerProcess {
  readonly id: number;
  readonly pid: number;
  /** Descriptors are borrowed. */
  send(message: ToWorker, fds?: readonly number[]): void;
  /** SIGKILL. onEnd follows. */
  kill(): void;
}

/** Pid of a worker that the kernel refused to start. */
export const noProcess = 0;

export const channelName = (id: number): string => `worker:${id}:channel`;
export const pidfdName = (id: number): string => `worker:${id}:pidfd`;

/** Starts a process. Throws when there is not even a descriptor for it; when the kernel refuses a process, onEnd tells, and the pid is noProcess. */
export function spawnWorker(id: number, keeper: Keeper, events: WorkerEvents): WorkerProcess {
  const { a, b } = native.socketPair();
  const child = startProcess(a, b);
  if (child.pid === undefined) {
    native.closeFd({ fd: a });
    child.once('error', (error) => events.onEnd({ reason: error.message }));
    return { id, pid: noProcess, send: () => {}, kill: () => {} };
  }
  const open = new Set([a]);
  try {
    const pidfd = native.pidfdOpen({ pid: child.pid });
    open.add(pidfd);
    keeper.put(pidfdName(id), pidfd);
    keeper.put(channelName(id), a);
    // Its link takes it, also where it throws.
    open.delete(a);
    const worker = attach({ id, pid: child.pid, pidfd, channel: a }, keeper, events);
    child.once('exit', (code, signal) => worker.ended({ reason: signal ?? 'exit', code: code ?? undefined }));
    return worker;
  } catch (error) {
    child.kill('SIGKILL');
    for (const fd of open) native.closeFd({ fd });
    keeper.drop(pidfdName(id));
    keeper.drop(channelName(id));
    throw error;
  }
}

/** With `theirs` as its channel, which is closed here; when it throws so is `ours`. */
function startProcess(ours: number, theirs: number): ChildProcess {
  try {
    return spawn(process.execPath, ['--disable-sigusr1', entry], {
      stdio: ['ignore', 'ignore', 'inherit', theirs],
      env: environment(),
      cwd: '/',
    });
  } catch (error) {
    native.closeFd({ fd: ours });
    throw error;
  } finally {
    native.closeFd({ fd: theirs });
  }
}

/** Takes over a worker from what the keeper holds; both descriptors are taken. It is asked for its status. */
export function adoptWorker(
  {
    id,
    pid,
    pidfd,
    channel,
  }: { readonly id: number; readonly pid: number; readonly pidfd: number; readonly channel: number },
  keeper: Keeper,
  events: WorkerEvents,
): WorkerProcess {
  const worker = attach({ id, pid, pidfd, channel }, keeper, events);
  const stopListening = keeper.watchChild(pid, (end) => {
    stopListening();
    worker.ended(end);
  });
  // It may have died while there was no master to tell.
  native.watchExit({
    pidfd,
    onExit: () => {
      setTimeout(() => {
        stopListening();
        worker.ended({ reason: 'unknown: no master was there' });
      }, exitStatusLimitMs);
    },
  });
  worker.send({ type: 'master', pid: process.pid });
  return worker;
}

interface Parts {
  readonly id: number;
  readonly pid: number;
  readonly pidfd: number;
  readonly channel: number;
}

function attach(
  { id, pid, pidfd, channel }: Parts,
  keeper: Keeper,
  events: WorkerEvents,
): WorkerProcess & { ended(end: ProcessEnd): void } {
  let alive = true;
  const kill = (): void => {
    if (alive) killByPidfd(pidfd);
  };
  const link = openLink<ToWorker, ToMaster>({
    fd: channel,
    onMessage: (message, fds) => {
      try {
        events.onMessage(message, fds);
      } finally {
        for (const fd of fds) native.closeFd({ fd });
      }
    },
    // Without its channel it is of no use, and ends by itself unless it hangs.
    onClose: kill,
    onMismatch: (error) => {
      events.onMessage({ type: 'failed', error }, []);
      kill();
    },
    shapes: workerShapes,
  });
  return {
    id,
    pid,
    send: (message, fds) => {
      if (alive) link.send(message, fds);
    },
    kill,
    ended: (end) => {
      if (!alive) return;
      alive = false;
      link.close();
      native.closeFd({ fd: pidfd });
      keeper.drop(pidfdName(id));
      keeper.drop(channelName(id));
      events.onEnd(end);
    },
  };
}

/** A process that has been reaped already is as it should be. */
export function killByPidfd(pidfd: number): void {
  try {
    native.pidfdSignal({ pidfd, signal: constants.signals.SIGKILL });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** What is meant for the service as a whole is not for a worker. */
function environment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, ...rest } = process.env;
  return rest;
}
