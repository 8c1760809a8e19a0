// SPDX-License-Identifier: MIT
// The keeper with masters that a test plays (scripted-master.ts).
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { keeperPath, nodePath } from './installation.ts';
import { LogLines } from './log-lines.ts';
import { descendants } from './processes.ts';

const script = fileURLToPath(new URL('scripted-master.ts', import.meta.url));

export interface FromMaster {
  readonly pid?: number;
  readonly message?: string;
  readonly fds?: number;
}

export interface ToMaster {
  readonly send?: string;
  /** Text of a memfd that goes with `send`. */
  readonly memfd?: string;
  readonly exit?: number;
}

/** One process that the keeper has started as a master. */
export class PlayedMaster {
  readonly pid: number;
  readonly #socket: Socket;
  readonly #messages: string[] = [];
  readonly #waiting: (() => void)[] = [];

  constructor(pid: number, socket: Socket) {
    this.pid = pid;
    this.#socket = socket;
  }

  heard(message: string): void {
    this.#messages.push(message);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The next message that is `wanted`, or begins with it. What came before it is skipped. */
  async hears(wanted: string | RegExp): Promise<string> {
    for (;;) {
      for (let message = this.#messages.shift(); message !== undefined; message = this.#messages.shift()) {
        if (typeof wanted === 'string' ? message.startsWith(wanted) : wanted.test(message)) return message;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** All messages up to and with the next one that is `last`. */
  async hearsAll(last: string): Promise<readonly string[]> {
    while (!this.#messages.includes(last)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#messages.splice(0, this.#messages.indexOf(last) + 1);
  }

  says(send: string, memfd?: string): void {
    this.#write({ send, ...(memfd === undefined ? {} : { memfd }) });
  }

  exits(code: number): void {
    this.#write({ exit: code });
  }

  kill(): void {
    process.kill(this.pid, 'SIGKILL');
  }

  #write(line: ToMaster): void {
    this.#socket.write(`${JSON.stringify(line)}\n`);
  }
}

export class PlayedKeeper {
  readonly child: ChildProcess;
  readonly log = new LogLines();
  readonly exited: Promise<unknown[]>;
  readonly #directory: string;
  readonly #server: Server;
  readonly #masters: PlayedMaster[] = [];
  readonly #waiting: (() => void)[] = [];

  /** With more in its environment. */
  static async start(env: NodeJS.ProcessEnv = {}): Promise<PlayedKeeper> {
    const directory = mkdtempSync(join(tmpdir(), 'ironsocket-keeper-'));
    const server = createServer();
    server.listen(join(directory, 'masters'));
    await once(server, 'listening');
    return new PlayedKeeper(directory, server, env);
  }

  private constructor(directory: string, server: Server, env: NodeJS.ProcessEnv) {
    this.#directory = directory;
    this.#server = server;
    server.on('connection', (socket) => this.#greet(socket));
    this.child = spawn(keeperPath, this.command, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.log.push(text));
    this.exited = once(this.child, 'exit');
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Program and arguments of a master. */
  get command(): readonly string[] {
    return [nodePath, script, join(this.#directory, 'masters')];
  }

  /** The message that asks for a candidate. */
  candidate(keeper = keeperPath): string {
    return `candidate ${[keeper, ...this.command].join('\0')}`;
  }

  /** The next master that has been started. */
  async master(): Promise<PlayedMaster> {
    for (;;) {
      const master = this.#masters.shift();
      if (master !== undefined) return master;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async stop(): Promise<void> {
    const pids = [...descendants(this.pid), this.pid];
    if (this.child.exitCode === null && this.child.signalCode === null) {
      // The keeper first: it would start others.
      for (const pid of pids.reverse()) kill(pid);
      await this.exited;
    }
    this.#server.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #greet(socket: Socket): void {
    socket.on('error', () => {});
    let master: PlayedMaster | undefined;
    const lines = createInterface(socket).on('error', () => {});
    lines.on('line', (line) => {
      const { pid, message } = JSON.parse(line) as FromMaster;
      if (pid !== undefined) {
        master = new PlayedMaster(pid, socket);
        this.#masters.push(master);
        for (const wake of this.#waiting.splice(0)) wake();
      }
      if (message !== undefined) master?.heard(message);
    });
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
