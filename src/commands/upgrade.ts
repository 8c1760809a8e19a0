// SPDX-License-Identifier: MIT
// `ironsocket upgrade`: the running service is replaced by another version, or by its own as it is installed now.
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { ask } from '../admin/client.ts';
import { addServiceOptions, findService, type ServiceChoice } from '../admin/find.ts';
import { exitCodes, SystemError, UsageError } from '../errors.ts';
import type { ByEngine, Handshakes } from '../upgrade/moved.ts';
import type { PhaseReport, UpgradeReport } from '../upgrade/report.ts';

const notes = `
The new version is tried first, then started beside the old one; it gets the listening sockets, certificates and ticket
keys as they are, and takes over at one instant. Until then any failure leaves all as it was. No connection is refused,
the process ID stays. SIGUSR2 does the same with the installation that runs; the log tells the outcome.
--check ends after the trial, in which the new version reads every session, and changes nothing.
Exits with 0 when the new version serves, with 75 and the reason when all is as before, and with 71 when there is no such
service.

Examples:
  ironsocket upgrade
  ironsocket upgrade --check --to /opt/ironsocket-1.1/lib/node_modules/ironsocket
`;

/** For what follows the commit, when sessions move without a word. */
const afterTimeoutMs = 60_000;

interface Options extends ServiceChoice {
  readonly to?: string;
  readonly check?: boolean;
  readonly timeout: string;
  readonly json?: boolean;
  readonly pauseAt?: string;
}

export function addUpgrade(command: Command): Command {
  return addServiceOptions(command)
    .option('--to <PATH>', 'directory of the package to upgrade to (the one that runs, as it is now)')
    .option('--check', 'only tell whether it could take over, and which sessions would move')
    .option('--timeout <DURATION>', 'for everything up to the change', '30s')
    .option('--json', 'the report as JSON')
    .addOption(new Option('--pause-at <PHASE>', 'for tests').hideHelp())
    .addHelpText('after', notes)
    .action(async ({ to, check = false, timeout, json = false, pauseAt, ...choice }: Options) => {
      const timeoutMs = millisecondsOf(timeout);
      const question = {
        command: 'upgrade',
        check,
        timeoutMs,
        pauseAt,
        ...(to === undefined ? {} : { to: resolve(to) }),
      };
      let begun = false;
      const onPhase = (phase: object) => {
        begun = true;
        if (!json) process.stdout.write(phaseLine(phase as PhaseReport));
      };
      const asked = ask(await findService(choice), question, onPhase, timeoutMs + afterTimeoutMs);
      const report = (await asked.catch((error) => {
        throw begun ? withoutOutcome(error) : error;
      })) as UpgradeReport;
      process.stdout.write(json ? `${JSON.stringify(report)}\n` : upgradeText(report));
      if (report.check !== undefined && report.check.refused > 0) process.exitCode = exitCodes.retry;
    });
}

/** The master that was asked has died, or hangs: another one knows more. */
function withoutOutcome(error: unknown): unknown {
  if (!(error instanceof SystemError)) return error;
  const { message, code, cause } = error;
  return new SystemError(message, { code, hint: '"ironsocket status" tells what became of the upgrade', cause });
}

export function phaseLine({ phase, ms }: PhaseReport): string {
  return `${phase.padEnd(12)} ${String(ms).padStart(6)} ms\n`;
}

export function upgradeText(report: UpgradeReport): string {
  const { checked, from, to, generation, sessions, keeper } = report;
  const { moved, kept, lost, reason, engines, pauses } = sessions;
  const why = kept > 0 && reason !== undefined ? `: ${reason}` : '';
  if (checked) return checkText(report);
  const rows = [
    ['upgraded', `${from} -> ${to}, generation ${generation}`],
    ['sessions', `${moved} moved, ${kept} stay in the old worker until they end${why}, ${lost} lost`],
    ...(moved === 0 ? [] : [['  moved', enginesText(engines)]]),
    ...handshakeRows(sessions.handshakes),
    ...(moved === 0 ? [] : [['pause', `longest ${msText(pauses.longest_us)}, p99 ${msText(pauses.p99_us)}`]]),
    ...(keeper === 'replaced' ? [] : [['keeper', `the old one is still at work: ${keeper ?? 'it has not told yet'}`]]),
  ];
  return rowsText(rows);
}

function checkText({ from, to, path, check }: UpgradeReport): string {
  if (check === undefined) return '';
  const { move, engines, refused, first_refused, unseen, handshakes, leaving } = check;
  const named = first_refused.map(({ id, reason }) => ['  refused', `connection ${id}: ${reason}`]);
  const rows = [
    ['sessions', `${move} would move${move === 0 ? '' : `: ${enginesText(engines)}`}`],
    ...(refused === 0 ? [] : [['refused', `${refused} can't be read by ${to}`], ...named]),
    ...(unseen === 0 ? [] : [['unseen', `${unseen} have not been looked at`]]),
    ...(handshakes === 0 ? [] : [['handshakes', `${handshakes} would end in the old worker, and move then`]]),
    ...leaving.map(({ pid, sessions: kept }) => [
      'stay',
      `${kept} in worker ${pid}, which an earlier upgrade has left`,
    ]),
  ];
  const could = refused === 0 ? 'could' : 'could not';
  return `${to} in ${path} ${could} take over from ${from}\n${rowsText(rows)}`;
}

function rowsText(rows: readonly (readonly string[])[]): string {
  return rows.map(([title = '', text = '']) => `${title.padEnd(12)} ${text}\n`).join('');
}

/** `12 by the kernel, 3 by userspace`; what carries only one direction where there is any. */
export function enginesText({ kernel, userspace, kernel_tx, kernel_rx }: ByEngine): string {
  const mixed = [
    ...(kernel_tx > 0 ? [`${kernel_tx} by the kernel only to clients`] : []),
    ...(kernel_rx > 0 ? [`${kernel_rx} by the kernel only from clients`] : []),
  ];
  return [`${kernel} by the kernel`, `${userspace} by userspace`, ...mixed].join(', ');
}

function handshakeRows({ finished, moved, open }: Handshakes): readonly (readonly [string, string])[] {
  if (finished === 0 && open === 0) return [];
  const parts = [`${finished} finished in the old worker, ${moved} of them moved`];
  return [['handshakes', [...parts, ...(open > 0 ? [`${open} still under way there`] : [])].join(', ')]];
}

/** `3.21 ms`. */
export function msText(us: number): string {
  return `${(us / 1000).toFixed(2)} ms`;
}

/** `30s`, `1500ms`, `2m`. */
function millisecondsOf(text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text) ?? [];
  const ms = Number(number) * ({ ms: 1, s: 1_000, m: 60_000 }[unit] ?? 0);
  if (ms >= 1 && ms <= 3_600_000) return ms;
  throw new UsageError(`"${text}" is no time for --timeout`, { hint: 'for example 30s, up to 60m' });
}
