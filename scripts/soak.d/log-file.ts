// SPDX-License-Identifier: MIT
// The log of the service, followed and counted while it is written: half an hour of it is too much to be kept.
import { closeSync, openSync, readSync } from 'node:fs';
import { type LogLine, parseLogfmt } from '../../test/helpers/log-lines.ts';

/** What the soak itself brings about. */
const expected: readonly Readonly<Record<string, string>>[] = [
  { event: 'system_error', error_msg: 'not accepting for the moment' },
  { event: 'proxy', subevent: 'client_disconnect', reason: 'backend_failed' },
];
const masterDied = 'the master died and is started again';

/** Reasons that no session should end with. */
const strangeReasons = new Set([
  'internal_error',
  'drained',
  'worker_stopped',
  'idle_timeout',
  'half_closed_timeout',
  'connect_timeout',
  'no_rekey',
]);
const mostStrange = 40;

export class LogFile {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(1 << 20);
  #rest: Buffer = Buffer.alloc(0);
  bytes = 0;
  /** Sessions that have ended, by reason. */
  readonly reasons = new Map<string, number>();
  /** Warnings and worse that the soak has not brought about; the first of them. */
  readonly strange: string[] = [];
  strangeCount = 0;
  /** Lines of workers that have died. */
  readonly deaths: LogLine[] = [];
  mastersDied = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
  }

  /** Closing lines so far. */
  get ended(): number {
    return [...this.reasons.values()].reduce((sum, each) => sum + each, 0);
  }

  /** Takes what has been written since. */
  read(): void {
    for (;;) {
      const got = readSync(this.#fd, this.#chunk, 0, this.#chunk.length, null);
      if (got === 0) return;
      this.bytes += got;
      const text = Buffer.concat([this.#rest, this.#chunk.subarray(0, got)]);
      const end = text.lastIndexOf(10) + 1;
      for (const line of text.toString('utf8', 0, end).split('\n')) if (line !== '') this.#take(line);
      this.#rest = Buffer.from(text.subarray(end));
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #take(text: string): void {
    let line: LogLine;
    try {
      line = parseLogfmt(text);
    } catch {
      this.#note(text);
      return;
    }
    const { level = '', event, subevent, reason = '' } = line;
    if (event === 'proxy' && subevent === 'client_disconnect') {
      this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
      if (strangeReasons.has(reason)) this.#note(text);
    }
    if (event === 'worker' && level === 'error') this.deaths.push(line);
    else if (line.error_msg === masterDied) this.mastersDied++;
    else if (level !== 'info' && level !== 'debug' && !isExpected(line)) this.#note(text);
  }

  #note(text: string): void {
    this.strangeCount++;
    if (this.strange.length < mostStrange) this.strange.push(text);
  }
}

function isExpected(line: LogLine): boolean {
  return expected.some((match) => Object.entries(match).every(([key, value]) => line[key] === value));
}
