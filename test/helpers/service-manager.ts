// SPDX-License-Identifier: MIT
// What a service manager hears: the end of NOTIFY_SOCKET (sd_notify(3)) that systemd has. Node has no datagram sockets of AF_UNIX.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Notice {
  /** Who has sent it, by the kernel's word. */
  readonly pid: number;
  readonly READY?: string;
  readonly RELOADING?: string;
  readonly STOPPING?: string;
  readonly WATCHDOG?: string;
  readonly MAINPID?: string;
  readonly STATUS?: string;
  readonly MONOTONIC_USEC?: string;
  readonly EXTEND_TIMEOUT_USEC?: string;
}

const receiver = `
import json, socket, struct, sys
name = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
manager.bind("\\0" + name[1:] if name[0] == "@" else name)
print("{}", flush=True)
while True:
    text, ancillary, _, _ = manager.recvmsg(4096, 64)
    pid = struct.unpack("3i", ancillary[0][2])[0]
    fields = dict(line.split("=", 1) for line in text.decode().split("\\n"))
    print(json.dumps({**fields, "pid": pid}), flush=True)
`;

export class ServiceManager {
  /** For NOTIFY_SOCKET. */
  readonly address: string;
  readonly heard: Notice[] = [];
  readonly #directory: string;
  readonly #receiver: ChildProcess;
  readonly #waiting: (() => void)[] = [];

  static async start(kind: 'path' | 'abstract' = 'path'): Promise<ServiceManager> {
    const manager = new ServiceManager(kind);
    await manager.#bound.promise;
    return manager;
  }

  readonly #bound = Promise.withResolvers<void>();

  private constructor(kind: 'path' | 'abstract') {
    this.#directory = mkdtempSync(join(tmpdir(), 'ironsocket-manager-'));
    this.address = kind === 'path' ? join(this.#directory, 'notify') : `@${this.#directory}`;
    this.#receiver = spawn('python3', ['-c', receiver, this.address], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#receiver.once('error', (error) => this.#bound.reject(error));
    const { stdout } = this.#receiver;
    if (stdout === null) throw new Error('no pipe');
    createInterface(stdout).on('line', (line) => {
      const notice = JSON.parse(line) as Notice;
      if (notice.pid === undefined) return this.#bound.resolve();
      this.heard.push(notice);
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  /** The first notice from number `from` on that has this field. */
  async hears(field: keyof Notice, from = 0): Promise<Notice> {
    for (;;) {
      const found = this.heard.slice(from).find((notice) => notice[field] !== undefined);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** What was heard so far, a word for each: the first field of the notice. */
  get words(): readonly string[] {
    return this.heard.map((notice) => Object.keys(notice)[0] ?? '');
  }

  async stop(): Promise<void> {
    this.#receiver.kill();
    await once(this.#receiver, 'exit');
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
