// SPDX-License-Identifier: MIT
// The master's end of the channel to the keeper (native/keeper.cc has the messages): what it holds for us, what it tells.
import { constants } from 'node:os';
import { exitCodes } from '../errors.ts';
import { native } from '../native.ts';

/** Version of the keeper's messages. */
const protocol = '1';
const channelFd = 3;

/** How a process ended (wait(2)). */
export interface ProcessEnd {
  readonly reason: string;
  readonly code?: number | undefined;
}

export interface Keeper {
  /** Masters started before this one. */
  readonly start: number;
  /** What it held when we met, by name. The descriptors are ours. */
  readonly held: ReadonlyMap<string, number>;
  /** Borrowed; replaces what had the name. */
  put(name: string, fd: number): void;
  drop(name: string): void;
  /** From now on a master that dies is started again. */
  ready(): void;
  /** The end of the service. */
  exit(code: number): void;
  onSignal: (signal: number, sender: number) => void;
  /** Children of a dead master are the keeper's: their ends come from here. Returns a function that stops watching. */
  watchChild(pid: number, onEnd: (end: ProcessEnd) => void): () => void;
}

/** Settles when the keeper has handed over all it holds. Without its keeper a master ends: nobody could replace it or stop it. */
export function meetKeeper(): Promise<Keeper> {
  const { promise, resolve, reject } = Promise.withResolvers<Keeper>();
  const held = new Map<string, number>();
  const children = new Map<number, (end: ProcessEnd) => void>();
  let start = 0;
  let keeper: Keeper | undefined;

  const onMessage = (message: string, fds: readonly number[]): void => {
    const [word = '', ...words] = message.split(' ');
    const [fd = -1] = fds;
    if (word === 'hello') {
      if (words[0] !== protocol) reject(new Error(`the keeper speaks version ${words[0]}, this master ${protocol}`));
      start = Number(words[2]);
    } else if (word === 'have') {
      held.set(words.join(' '), fd);
    } else if (word === 'go') {
      keeper = makeKeeper();
      resolve(keeper);
    } else if (word === 'signal') {
      keeper?.onSignal(Number(words[0]), Number(words[1]));
    } else if (word === 'exited') {
      children.get(Number(words[0]))?.(endOf(Number(words[1])));
    }
  };
  const channel = native.openChannel({ fd: channelFd, onMessage, onClose: () => process.exit(exitCodes.internal) });
  const makeKeeper = (): Keeper => ({
    start,
    held,
    put: (name, fd) => channel.send({ message: `put ${name}`, fds: [fd] }),
    drop: (name) => channel.send({ message: `drop ${name}` }),
    ready: () => channel.send({ message: 'ready' }),
    exit: (code) => channel.send({ message: `exit ${code}` }),
    onSignal: () => {},
    watchChild: (pid, onEnd) => {
      children.set(pid, onEnd);
      return () => children.delete(pid);
    },
  });
  return promise;
}

function endOf(waitStatus: number): ProcessEnd {
  const signal = waitStatus & 0x7f;
  if (signal !== 0) return { reason: signalName(signal) };
  const code = (waitStatus >> 8) & 0xff;
  return { reason: 'exit', code };
}

/** `SIGTERM` for 15. */
export function signalName(signal: number): string {
  const found = Object.entries(constants.signals).find(([, number]) => number === signal);
  return found?.[0] ?? `signal ${signal}`;
}
