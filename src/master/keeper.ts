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
  /** Does not throw: what the keeper goes on holding, the next master finds and drops. */
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
  return new KeeperChannel().met;
}

class KeeperChannel implements Keeper {
  role: Role = 'serving';
  generation = 1;
  start = 0;
  readonly held = new Map<string, number>();
  onCandidate = (_event: CandidateEvent): void => {};
  onRole = (_role: Role): void => {};
  onKeeper = (_outcome: string): void => {};
  onSignal = (_signal: number, _sender: number): void => {};
  readonly #children = new Map<number, (end: ProcessEnd) => void>();
  readonly #meeting = Promise.withResolvers<Keeper>();
  readonly #channel = native.openChannel({
    fd: channelFd,
    onMessage: (message, fds) => this.#onMessage(message.split(' '), fds),
    // Only what it holds, as we meet, has descriptors: nobody can serve without.
    onLost: () => process.exit(exitCodes.internal),
    onClose: () => process.exit(exitCodes.internal),
  });

  get met(): Promise<Keeper> {
    return this.#meeting.promise;
  }
  put(name: string, fd: number): void {
    this.#channel.send({ message: `put ${name}`, fds: [fd] });
  }
  drop(name: string): void {
    this.#attempt(`drop ${name}`, "the keeper can't be told to let go of a descriptor");
  }
  ready(): void {
    this.#channel.send({ message: 'ready' });
  }
  tell(state: 'serving' | 'reloading', text: string): void {
    this.#notice(`state ${state} ${text}`);
  }
  draining(limitMs: number): void {
    this.#notice(`state draining ${limitMs}`);
  }
  exit(code: number): void {
    this.#channel.send({ message: `exit ${code}` });
  }
  candidate(keeper: string, command: readonly string[], peer: number): void {
    this.#channel.send({ message: `candidate ${[keeper, ...command].join('\0')}`, fds: [peer] });
  }
  commit(): void {
    this.#channel.send({ message: 'commit' });
  }
  abort(): void {
    this.#channel.send({ message: 'abort' });
  }
  watchChild(pid: number, onEnd: (end: ProcessEnd) => void): () => void {
    this.#children.set(pid, onEnd);
    return () => this.#children.delete(pid);
  }

  /** What is only for the service manager stops nothing else. */
  #notice(message: string): void {
    this.#attempt(message, "the service manager can't be told how the service fares");
  }

  #attempt(message: string, complaint: string): void {
    try {
      this.#channel.send({ message });
    } catch (error) {
      log('warn', 'system_error', failure(complaint, error));
    }
  }

  #onMessage([word = '', ...words]: readonly string[], [fd = -1]: readonly number[]): void {
    if (word === 'hello') {
      this.#greet(words);
    } else if (word === 'have') {
      this.held.set(words.join(' '), fd);
    } else if (word === 'go') {
      this.#meeting.resolve(this);
    } else if (word === 'signal') {
      this.onSignal(Number(words[0]), Number(words[1]));
    } else if (word === 'exited') {
      this.#children.get(Number(words[0]))?.(endOf(Number(words[1])));
    } else if (word === 'role') {
      this.role = words[0] as Role;
      this.onRole(this.role);
    } else if (word === 'candidate') {
      this.onCandidate({ type: 'started', pid: Number(words[0]) });
    } else if (word === 'candidate-ready') {
      this.onCandidate({ type: 'ready' });
    } else if (word === 'candidate-ended') {
      this.onCandidate({ type: 'ended', reason: words.join(' ') });
    } else if (word === 'keeper') {
      this.onKeeper(words[0] === 'replaced' ? 'replaced' : words.slice(1).join(' '));
    }
  }

  #greet([version, generation, start, role = 'serving']: readonly string[]): void {
    if (version !== protocol) {
      this.#meeting.reject(new Error(`the keeper speaks version ${version}, this master ${protocol}`));
    }
    this.generation = Number(generation);
    this.start = Number(start);
    this.role = role as Role;
  }
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
