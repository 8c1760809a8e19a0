// SPDX-License-Identifier: MIT
// What a process holds, for who may look into it (root): its memory, and the files that only its descriptors name.
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** By name, what must (not) be somewhere. */
export type Needles = Readonly<Record<string, Buffer>>;

const pieceBytes = 16 << 20;

/** Names of those that are in memory which the process can write. */
export function inMemory(pid: number, needles: Needles): string[] {
  const found = new Set<string>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
    const [, begin, end] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
    if (begin === undefined || end === undefined) continue;
    searchRegion(memory, Number.parseInt(begin, 16), Number.parseInt(end, 16), needles, found);
  }
  closeSync(memory);
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

function searchRegion(memory: number, begin: number, end: number, needles: Needles, found: Set<string>): void {
  const most = Math.max(...Object.values(needles).map(({ length }) => length));
  for (let at = begin; at < end; at += pieceBytes) {
    const piece = Buffer.alloc(Math.min(pieceBytes + most, end - at));
    let got = 0;
    try {
      got = readSync(memory, piece, 0, piece.length, at);
    } catch {
      continue; // not backed by memory, or gone meanwhile
    }
    for (const name of inBytes(piece.subarray(0, got), needles)) found.add(name);
  }
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
