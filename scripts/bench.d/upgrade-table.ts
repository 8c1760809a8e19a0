// SPDX-License-Identifier: MIT
// Results of `scripts/bench upgrade` for people.
import { noiseText } from './machine.ts';
import type { Pauses, Result, Stock } from './measure-rounds.ts';

export function upgradeText(result: Result): string {
  const { name, version, rounds, replaced, sessions, streams, visits, noise } = result;
  const idle = sessions.opened - sessions.streaming;
  const rows: (readonly [string, string])[] = [
    ['rounds', `${rounds}, new processes took over in ${replaced}`],
    ['sessions', `${idle} idle and ${sessions.streaming} streaming: ${cutText(result)}`],
    ['  idle', `${sessions.answering} of ${idle} answer at the end`],
    ['  streams', `${mib(streams.bytes)} MiB, ${streams.wrong} with a wrong hash`],
    ['  old processes', `${sessions.oldProcesses} hold ${sessions.inOldProcesses} sessions`],
    ...(result.carriers === undefined ? [] : [['  carried', result.carriers] as const]),
    [
      'new connections',
      `${visits.answered} answered, ${visits.refused} refused, ${visits.reset} reset, longest ${ms(visits.longestMs)} ms`,
    ],
    ['processes', stocks(result, ({ processes }) => String(processes))],
    ['memory (PSS)', `${stocks(result, ({ bytes }) => (bytes === undefined ? '?' : mib(bytes)))} MiB`],
    ['descriptors', stocks(result, ({ files }) => String(files))],
    ['CPU a round', `${(result.cpuPerRound * 1000).toFixed(0)} ms more than the load alone`],
    ...pauseRows(result),
    ...result.phases.map(
      (phase) => [`  ${phase.name}`, `${ms(phase.medianMs)} ms, longest ${ms(phase.longestMs)} ms`] as const,
    ),
    ...toldRows(result),
    ['machine', noiseText(noise)],
  ];
  return `${name} (${version})\n${rows.map(([title, text]) => `  ${title.padEnd(18)} ${text}\n`).join('')}`;
}

function cutText({ sessions: { cut, reset, cutAfterS } }: Result): string {
  if (cutAfterS === undefined) return 'none was cut';
  const [first, last] = cutAfterS.map((seconds) => seconds.toFixed(1));
  return `${cut} were cut (${reset} by a reset), ${first} to ${last} s after the first round`;
}

function stocks({ empty, loaded, after, ended }: Result, text: (stock: Stock) => string): string {
  return `${text(empty)} at first, ${text(loaded)} with sessions, ${text(after)} after the rounds, ${text(ended)} without sessions`;
}

function pauseRows({ usualUs, pauses }: Result): (readonly [string, string])[] {
  const row = (proxied: Pauses, direct: Pauses) =>
    `p99 ${us(proxied.p99Us)}, longest ${us(proxied.longestUs)} (past the proxy: ${us(direct.p99Us)}, ${us(direct.longestUs)})`;
  const moved = pauses.moving.longestUs + pauses.directMoving.longestUs > 0;
  return [
    ['a message takes', us(usualUs)],
    ['pause, no round', row(pauses.quiet, pauses.directQuiet)],
    ['pause, round', row(pauses.round, pauses.directRound)],
    ...(moved ? [['pause, moving', row(pauses.moving, pauses.directMoving)] as const] : []),
  ];
}

function toldRows({ told }: Result): (readonly [string, string])[] {
  const all = told.filter((each) => each !== undefined);
  if (all.length === 0) return [];
  const most = (of: (each: (typeof all)[number]) => number) => Math.max(...all.map(of));
  const least = Math.min(...all.map(({ moved }) => moved));
  const rows: (readonly [string, string])[] = [
    [
      'its report',
      `${least} to ${most(({ moved }) => moved)} moved, at most ${most(({ kept }) => kept)} kept, ${most(({ lost }) => lost)} lost`,
    ],
  ];
  const longest = most(({ longestPauseUs }) => longestPauseUs ?? -1);
  if (longest < 0) return rows;
  const p99 = most(({ p99PauseUs }) => p99PauseUs ?? 0);
  return [...rows, ['  pauses', `longest ${us(longest)}, p99 of the worst round under ${us(p99)}`]];
}

function us(value: number): string {
  return `${ms(value / 1000)} ms`;
}

function ms(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
