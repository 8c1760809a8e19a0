// SPDX-License-Identifier: MIT
// What a process holds, for who may look into it (root): its memory, and the files that only its descriptors name.
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** By name, what must (not) be somewhere. */
export type Needles = Readonly<Record<string, Buffer>>;

const pageBytes = 4096;

/** Names of those that are in memory which the process can write. */
export function inMemory(pid: number, needles: Needles): string[] {
  const found = new Set<string>();
  const [memory, pagemap] = ['mem', 'pagemap'].map((name) => openSync(`/proc/${pid}/${name}`, 'r')) as [number, number];
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
    const [, begin, end] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (begin === undefined || end === undefined) continue;
    for (const [from, to] of filledRuns(pagemap, Number.parseInt(begin, 16), Number.parseInt(end, 16))) {
      const bytes = Buffer.alloc(to - from);
      try {
        const got = readSync(memory, bytes, 0, bytes.length, from);
        for (const name of inBytes(bytes.subarray(0, got), needles)) found.add(name);
      } catch {
        // gone meanwhile
      }
    }
  }
  closeSync(memory);
  closeSync(pagemap);
  return [...found].sort();
}

/** Names of those that are in its memory, or in a memfd of its. */
export function inProcess(pid: number, needles: Needles): string[] {
  const files = memoryFiles(pid).flatMap((file) => inBytes(file, needles));
  return [...new Set([...inMemory(pid, needles), ...files])].sort();
}

/** Names of those that are in a file below the directory. */
export function inFiles(directory: string, needles: Needles): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((each) => each.isFile());
  return entries.flatMap(({ parentPath, name }) => inBytes(readFileSync(join(parentPath, name)), needles));
}

export function inBytes(bytes: Buffer, needles: Needles): string[] {
  return Object.keys(needles).filter((name) => bytes.includes(needles[name] ?? ''));
}

/**
 * Where the region has pages, neighbours together (proc_pid_pagemap(5)). To read others would make them, and in user-mode-linux each
 * may be a mapping of the host's: a process that needs more than 65,530 never runs again.
 */
function filledRuns(pagemap: number, begin: number, end: number): [number, number][] {
  const entries = Buffer.alloc(((end - begin) / pageBytes) * 8);
  const got = readSync(pagemap, entries, 0, entries.length, (begin / pageBytes) * 8);
  const runs: [number, number][] = [];
  for (let i = 0; i + 8 <= got; i += 8) {
    // Bit 63: in memory; bit 62: swapped out.
    if ((entries[i + 7] ?? 0) < 0x40) continue;
    const at = begin + (i / 8) * pageBytes;
    const last = runs.at(-1);
    if (last?.[1] === at) last[1] += pageBytes;
    else runs.push([at, at + pageBytes]);
  }
  return runs;
}

function memoryFiles(pid: number): Buffer[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    const path = `/proc/${pid}/fd/${fd}`;
    try {
      return readlinkSync(path).startsWith('/memfd:') ? [readFileSync(path)] : [];
    } catch {
      return []; // closed meanwhile
    }
  });
}
