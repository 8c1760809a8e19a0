// SPDX-License-Identifier: MIT
// Programs of others that we start, watch and end.
import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ecdsa } from '../../test/helpers/certificates.ts';
import { descendants } from '../../test/helpers/processes.ts';
import { freePort } from '../../test/helpers/proxy.ts';
import type { Place } from './peer-settings.ts';
import { pidsOfSessions } from './processes.ts';

/** Starts programs in sessions of their own, so that all their descendants are found again. They end at our exit at the latest. */
export class Running {
  readonly #sessions = new Set<number>();
  readonly #output: string;
  readonly #log: number;
  readonly #killAll = () => {
    for (const pid of this.pids()) process.kill(pid, 'SIGKILL');
  };
  /** The one that was started last. */
  last = 0;

  constructor(folder: string) {
    this.#output = join(folder, 'output');
    this.#log = openSync(this.#output, 'a');
    process.on('exit', this.#killAll);
  }
  start([program = '', ...args]: readonly string[]): void {
    const child = spawn(program, args, { detached: true, stdio: ['ignore', this.#log, this.#log] });
    child.on('error', () => {}); // it won't listen
    this.last = child.pid ?? 0;
    this.#sessions.add(this.last);
  }
  /** One that has left its session for one of its own. */
  adopt(pid: number): void {
    this.#sessions.add(pid);
  }
  pids(): number[] {
    const children = [...this.#sessions].flatMap(descendants);
    return [...new Set([...pidsOfSessions(this.#sessions), ...children])];
  }
  output(): string {
    return readFileSync(this.#output, 'utf8');
  }
  async end(): Promise<void> {
    process.off('exit', this.#killAll);
    this.#killAll();
    while (this.pids().length > 0) await wait(20);
  }
}

export interface Started {
  readonly place: Place;
  readonly running: Running;
  stop(): Promise<void>;
}

/** Starts what `command` says in a folder and at a port of its own, and waits until it listens. Rejects with what it said when it does not. */
export async function startInPlace(
  options: Omit<Place, 'port' | 'folder' | 'pem'>,
  command: (place: Place) => readonly string[],
): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), 'ironsocket-bench-'));
  const pem = join(folder, 'both.pem');
  writeFileSync(pem, readFileSync(ecdsa.cert, 'latin1') + readFileSync(ecdsa.key, 'latin1'), { mode: 0o600 });
  const place = { ...options, folder, pem, port: await freePort() };
  const running = new Running(folder);
  const stop = async () => {
    await running.end();
    rmSync(folder, { recursive: true, force: true });
  };
  running.start(command(place));
  if (await accepts(place.port)) return { place, running, stop };
  const output = running.output();
  await stop();
  throw new Error(`it does not listen:\n${output}`);
}

async function accepts(port: number): Promise<boolean> {
  for (let i = 0; i < 250; i++) {
    const socket = net.connect(port, '127.0.0.1');
    const connected = await new Promise((resolve) => {
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    });
    socket.destroy();
    if (connected === true) return true;
    await wait(20);
  }
  return false;
}

export function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
