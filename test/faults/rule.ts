// SPDX-License-Identifier: MIT
// The seam (seam.cc): built, put before the C library of a proxy under test, and told what is to fail.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** In the order of enum Call in seam.h. */
const calls = [
  'recv',
  'recvmsg',
  'readv',
  'read',
  'send',
  'sendmsg',
  'write',
  'splice',
  'accept4',
  'socket',
  'socketpair',
  'connect',
  'epoll_create1',
  'epoll_ctl',
  'epoll_wait',
  'eventfd',
  'pipe2',
  'setsockopt',
  'getsockopt',
  'getsockname',
  'shutdown',
  'mmap',
  'memfd_create',
  'ftruncate',
  'pwrite',
  'pread',
  'fcntl',
  'ioctl',
  'poll',
  'pthread_create',
  'fork',
  'malloc',
  'fallocate',
] as const;
export type Call = (typeof calls)[number];

/** Those that Node has no name for (<asm-generic/errno.h>). */
const moreErrnos = { ETOOMANYREFS: 109 } as const;
const errnos = { ...constants.errno, ...moreErrnos };

const processes = { keeper: 1, master: 2, worker: 4 } as const;
export type ProcessName = keyof typeof processes;

const places = ['anywhere', 'network', 'local', 'no socket'] as const;

export interface Fault {
  readonly call: Call;
  /** Name of an errno, or the bytes of a short count. */
  readonly how: keyof typeof errnos | number;
  /** Left out: the worker. */
  readonly process?: ProcessName;
  /** Of the descriptor; left out: anywhere. */
  readonly place?: (typeof places)[number];
  /** An option (`level << 16 | name`), an operation, a command; left out: any. */
  readonly detail?: number;
}

export interface When {
  /** Number of the first call to fail, from 1 on, over all processes. */
  readonly first: number;
  /** How many fail from there on, one after the other; 1 if left out. */
  readonly most?: number;
}

/** What came of a rule. */
export interface Told {
  readonly seen: number;
  readonly hits: number;
  /** The last that was hit. */
  readonly pid: number;
}

const words = 13;
const at = { armed: 0, seen: 10, hits: 11, pid: 12 };

export class Seam {
  /** For the proxy. */
  readonly env: NodeJS.ProcessEnv;
  readonly #directory = mkdtempSync(join(tmpdir(), 'ironsocket-faults-'));
  readonly #fd: number;

  /** Builds it with g++. */
  constructor() {
    const library = join(this.#directory, 'seam.so');
    const options = ['-std=gnu++20', '-O1', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-o', library];
    execFileSync('g++', [...options, join(here, 'seam.cc'), join(here, 'calls.cc')], { stdio: 'inherit' });
    const page = join(this.#directory, 'rule');
    // The worker has another user when it maps nothing any more, so nobody else needs to write it.
    this.#fd = openSync(page, 'w+', 0o600);
    writeSync(this.#fd, Buffer.alloc(words * 8), 0, words * 8, 0);
    this.env = { LD_PRELOAD: library, IRONSOCKET_TEST_FAULTS: page };
  }

  /** From now on calls are counted. */
  arm({ call, how, process = 'worker', place = 'anywhere', detail = 0 }: Fault, { first, most = 1 }: When): void {
    this.disarm();
    const error = typeof how === 'number' ? 0 : errnos[how];
    const bytes = typeof how === 'number' ? how : 0;
    const number = calls.indexOf(call) + 1;
    const rule = [0, number, processes[process], places.indexOf(place), detail, first, 1, most, error, bytes, 0, 0, 0];
    this.#write(0, rule);
    this.#write(at.armed, [1]);
  }

  /** Nothing fails any more. */
  disarm(): Told {
    this.#write(at.armed, [0]);
    return this.told();
  }

  told(): Told {
    const page = Buffer.alloc(words * 8);
    readSync(this.#fd, page, 0, page.length, 0);
    const [seen, hits, pid] = [at.seen, at.hits, at.pid].map((word) => Number(page.readBigUInt64LE(word * 8)));
    return { seen: seen ?? 0, hits: hits ?? 0, pid: pid ?? 0 };
  }

  close(): void {
    closeSync(this.#fd);
    rmSync(this.#directory, { recursive: true });
  }

  #write(word: number, values: readonly number[]): void {
    const bytes = Buffer.alloc(values.length * 8);
    values.forEach((value, i) => {
      bytes.writeBigUInt64LE(BigInt(value), i * 8);
    });
    writeSync(this.#fd, bytes, 0, bytes.length, word * 8);
  }
}

export function faultName({ call, how, process = 'worker', place, detail }: Fault): string {
  const what = typeof how === 'number' ? `${how} byte${how === 1 ? '' : 's'}` : how;
  const where = [place === 'anywhere' ? undefined : place, detail && `0x${detail.toString(16)}`].filter(Boolean);
  return `${process}: ${call}${where.length > 0 ? ` (${where.join(', ')})` : ''} ${what}`;
}
