// SPDX-License-Identifier: MIT
// The master's end of the channel to the keeper (native/keeper/keeper.h has the messages): what it holds for us, what it tells.
import { constants } from 'node:os';
import { exitCodes } from '../errors.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';

/** Version of the keeper's messages. */
const protocol = '1';
const channelFd = 3;

/** How a process ended (wait(2)). */
export interface ProcessEnd {
  readonly reason: string;
  readonly code?: number | undefined;
}

/** Of a master: it serves, is to take the place of the one that does, or has served and ends with its last session. */
export type Role = 'serving' | 'candidate' | 'leaving';

/** What became of the candidate that this master has asked for. */
export type CandidateEvent =
  | { readonly type: 'started'; readonly pid: number }
  | { readonly type: 'ready' }
  | { readonly type: 'ended'; readonly reason: string };

export interface Keeper {
  /** It may change: see onRole. */
  readonly role: Role;
  /** Of the service: 1, and one more with every upgrade. */
  readonly generation: number;
  /** Masters started before this one. */
  readonly start: number;
  /** What it held when we met, by name. The descriptors are ours. */
  readonly held: ReadonlyMap<string, number>;
  /** Borrowed; replaces what had the name. */
  put(name: string, fd: number): void;
  drop(name: string): void;
  /** From now on a master that dies is started again. */
  ready(): void;
  /** How the service fares, for the service manager; `text` is one line for people. Heeded of the serving master alone. */
  tell(state: 'serving' | 'reloading', text: string): void;
  /** Sessions may go on for so long before the service ends. */
  draining(limitMs: number): void;
  /** The end of the service, or of a master that leaves. */
  exit(code: number): void;
  /** Asks for a second master, which gets what the keeper holds, and `peer` (borrowed) under that name. `keeper` is of the same installation. */
  candidate(keeper: string, command: readonly string[], peer: number): void;
  /** The candidate is to serve. onRole or onCandidate tells what came of it. */
  commit(): void;
  /** Ends the candidate. onCandidate follows. */
  abort(): void;
  onCandidate: (event: CandidateEvent) => void;
  onRole: (role: Role) => void;
  /** After a commit: `replaced`, or why the keeper stays as it is. */
  onKeeper: (outcome: string) => void;
  onSignal: (signal: number, sender: number) => void;
  /** Children of a dead master are the keeper's: their ends come from here. Returns a function that stops watching. */
  watchChild(pid: number, onEnd: (end: ProcessEnd) => void): () => void;
}

/** Settles when the keeper has handed over all it holds. Without its keeper a master ends: nobody could replace it or stop it. */
export function meetKeeper(): Promise<Keeper> {
  const { promise, resolve, reject } = Promise.withResolvers<Keeper>();
  const held = new Map<string, number>();
  const children = new Map<number, (end: ProcessEnd) => void>();
  let generation = 1;
  let start = 0;
  let role: Role = 'serving';
  let keeper: Keeper | undefined;

  const onMessage = (message: string, fds: readonly number[]): void => {
    const [word = '', ...words] = message.split(' ');
    const [fd = -1] = fds;
    if (word === 'hello') {
      if (words[0] !== protocol) reject(new Error(`the keeper speaks version ${words[0]}, this master ${protocol}`));
      generation = Number(words[1]);
      start = Number(words[2]);
      role = (words[3] ?? 'serving') as Role;
    } else if (word === 'have') {
      held.set(words.join(' '), fd);
    } else if (word === 'go') {
      keeper = makeKeeper();
      resolve(keeper);
    } else if (word === 'signal') {
      keeper?.onSignal(Number(words[0]), Number(words[1]));
    } else if (word === 'exited') {
      children.get(Number(words[0]))?.(endOf(Number(words[1])));
    } else if (word === 'role') {
      role = words[0] as Role;
      keeper?.onRole(role);
    } else if (word === 'candidate') {
      keeper?.onCandidate({ type: 'started', pid: Number(words[0]) });
    } else if (word === 'candidate-ready') {
      keeper?.onCandidate({ type: 'ready' });
    } else if (word === 'candidate-ended') {
      keeper?.onCandidate({ type: 'ended', reason: words.join(' ') });
    } else if (word === 'keeper') {
      keeper?.onKeeper(words[0] === 'replaced' ? 'replaced' : words.slice(1).join(' '));
    }
  };
  const channel = native.openChannel({ fd: channelFd, onMessage, onClose: () => process.exit(exitCodes.internal) });
  /** What is only for the service manager stops nothing else. */
  const notice = (message: string): void => {
    try {
      channel.send({ message });
    } catch (error) {
      log('warn', 'system_error', failure("the service manager can't be told how the service fares", error));
    }
  };
  const makeKeeper = (): Keeper => ({
    get role() {
      return role;
    },
    generation,
    start,
    held,
    put: (name, fd) => channel.send({ message: `put ${name}`, fds: [fd] }),
    drop: (name) => channel.send({ message: `drop ${name}` }),
    ready: () => channel.send({ message: 'ready' }),
    tell: (state, text) => notice(`state ${state} ${text}`),
    draining: (limitMs) => notice(`state draining ${limitMs}`),
    exit: (code) => channel.send({ message: `exit ${code}` }),
    candidate: (program, command, peer) =>
      channel.send({ message: `candidate ${[program, ...command].join('\0')}`, fds: [peer] }),
    commit: () => channel.send({ message: 'commit' }),
    abort: () => channel.send({ message: 'abort' }),
    onCandidate: () => {},
    onRole: () => {},
    onKeeper: () => {},
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
