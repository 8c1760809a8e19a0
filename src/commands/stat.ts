// SPDX-License-Identifier: MIT
// `ironsocket stat`: what the kernel counts of TLS, once or again and again. Needs no rights.
import { setTimeout as wait } from 'node:timers/promises';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { kernelPlaces, type TlsPlaces } from '../observe/tls-module.ts';
import { readTlsStat, TlsHistory, type TlsView } from '../observe/tls-stat.ts';
import { jsonLine, tableLines } from '../observe/tls-stat-text.ts';

const notes = `
Shows /proc/net/tls_stat, line by line with what it counts. It is there when the module tls is loaded, and counts
all programs of this network namespace, not ironsocket alone. A program needs no rights to read it.
Each start of ironsocket and each check and doctor tries the kernel on connections of its own, which are counted
too: look at the changes (--watch), not at the totals.

Examples:
  ironsocket stat
  ironsocket stat --watch 5
  ironsocket stat --watch --json | jq --unbuffered .since_last
`;

export interface StatOptions {
  readonly json: boolean;
  /** Seconds between readings; undefined: one reading. */
  readonly watch: number | undefined;
}

/** Where a table goes. A terminal has `columns` and `rows`, and is drawn in place. */
export interface StatOutput {
  readonly write: (text: string) => unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** Gives the command its options and what it does. */
export function addStat(command: Command): Command {
  return command
    .option('--watch [SECONDS]', 'read again and again, and show what has changed (every 2 seconds)')
    .option('--json', 'one line of JSON for each reading')
    .addHelpText('after', notes)
    .action(async ({ json = false, watch }: { json?: boolean; watch?: true | string }) => {
      await statUntilStopped({ json, watch: watch === undefined ? undefined : secondsOf(watch) });
    });
}

/** Until INT, TERM, or nobody reads stdout any more; each is an orderly end. */
async function statUntilStopped(options: StatOptions): Promise<void> {
  const stop = new AbortController();
  const end = (): void => stop.abort();
  if (options.watch !== undefined) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
    process.stdout.once('error', end);
  }
  await stat(options, process.stdout, stop.signal);
}

/** Writes one reading, or one after the other until `stop`. Throws SystemError when there is nothing to read. */
export async function stat(
  { json, watch }: StatOptions,
  output: StatOutput,
  stop: AbortSignal,
  places: TlsPlaces = kernelPlaces,
): Promise<void> {
  const history = new TlsHistory();
  for (let count = 0; ; count++) {
    const view = history.next(readTlsStat(places));
    if (json) output.write(`${jsonLine(view)}\n`);
    else if (watch !== undefined && output.isTTY === true) output.write(inPlace(view, output));
    else output.write(`${count === 0 ? '' : '\n'}${block(tableLines(view, { changes: watch !== undefined }))}`);
    if (watch === undefined) return;
    await wait(watch * 1000, undefined, { signal: stop }).catch(() => {});
    if (stop.aborted) return;
  }
}

/** Over what stood there before, cut to the terminal: a longer line would wrap, and more lines would scroll. */
function inPlace(view: TlsView, { columns = 80, rows = 24 }: StatOutput): string {
  const lines = tableLines(view, { changes: true, width: columns });
  const room = rows - 1;
  const shown =
    lines.length <= room ? lines : [...lines.slice(0, room - 1), `... ${lines.length - room + 1} more lines`];
  const cut = (line: string): string => (line.length <= columns ? line : `${line.slice(0, columns - 1)}…`);
  // Home; each line up to its end; the rest of the screen. Without clearing all first, it does not flicker.
  return `\x1b[H${shown.map((line) => `${cut(line)}\x1b[K\n`).join('')}\x1b[J`;
}

function block(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

function secondsOf(text: true | string): number {
  if (text === true) return 2;
  const seconds = Number(text);
  if (/^\d*\.?\d+$/.test(text) && seconds >= 0.1 && seconds <= 86_400) return seconds;
  throw new UsageError(`"${text}" is no interval for --watch`, { hint: 'give seconds from 0.1 to 86400' });
}
