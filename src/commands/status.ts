// SPDX-License-Identifier: MIT
// `ironsocket status`: what the running service says of itself.
import type { Command } from 'commander';
import { ask } from '../admin/client.ts';
import { addServiceOptions, findService, type ServiceChoice } from '../admin/find.ts';
import type { ReloadSummary } from '../master/reload-report.ts';
import type { Status } from '../master/status.ts';
import type { Moved } from '../upgrade/moved.ts';
import type { UpgradeSummary } from '../upgrade/report.ts';
import { enginesText, msText } from './upgrade.ts';

const notes = `
Sessions are those of all workers, by who carries them. A worker that leaves was replaced by an upgrade and ends with its last session.
Exits with 71 when there is no such service.

Examples:
  ironsocket status
  ironsocket status --json | jq .sessions.open
`;

export function addStatus(command: Command): Command {
  return addServiceOptions(command)
    .option('--json', 'everything as JSON')
    .addHelpText('after', notes)
    .action(async ({ json = false, ...choice }: ServiceChoice & { json?: boolean }) => {
      const status = (await ask(await findService(choice), { command: 'status' })) as Status;
      process.stdout.write(json ? `${JSON.stringify(status)}\n` : statusText(status));
    });
}

export function statusText(status: Status): string {
  const { master, worker, sessions } = status;
  const workerText = worker === null ? 'none at work' : `worker ${worker.pid} (number ${worker.id})`;
  const rows: (readonly [string, string])[] = [
    ['ironsocket', `${status.version}, ${stateText(status)}`],
    ['runs on', `Node ${status.node}, OpenSSL ${status.openssl}, Linux ${status.kernel}`],
    ['generation', `${status.generation}, revision ${status.revision} of the configuration`],
    ['processes', `keeper ${status.pid}, master ${master.pid}, ${workerText}`],
    ['configuration', status.config ?? 'flags'],
    ['control', status.control ?? 'off'],
    ...status.listeners.map(({ name, addresses, backend }) => {
      return ['listener', `${name}: ${addresses.join(', ')} -> ${backend}`] as const;
    }),
    ['sessions', `${sessions.open} open, ${sessions.total} in all`],
    ['  from clients', directionText(sessions.from_client)],
    ['  to clients', directionText(sessions.to_client)],
    ...status.leaving.map(({ id, pid, sessions: open, handshakes }) => {
      const held = handshakes > 0 ? `${open} sessions and ${handshakes} handshakes` : `${open} sessions`;
      return ['leaving', `worker ${pid} (number ${id}) with ${held}`] as const;
    }),
    ['last reload', reloadLine(status.last_reload)],
    ['last upgrade', upgradeLine(status.last_upgrade)],
    ...movedRows(status.last_upgrade?.sessions),
  ];
  return rows.map(([title, text]) => `${title.padEnd(15)} ${text}\n`).join('');
}

function stateText({ state, drain_left_s: left, uptime_s: uptime }: Status): string {
  // A service of an earlier version does not tell.
  if (typeof left !== 'number') return `${state} for ${durationText(uptime)}`;
  return `stopping: sessions have ${durationText(left)} to end; here for ${durationText(uptime)}`;
}

function directionText({ kernel, userspace }: { readonly kernel: number; readonly userspace: number }): string {
  return `${kernel} by the kernel, ${userspace} by userspace`;
}

function reloadLine(last: ReloadSummary | null): string {
  if (last === null) return 'none';
  const { at, trigger, outcome, reason } = last;
  return `${at}, by ${trigger}: ${outcome}${reason === undefined ? '' : `, ${reason}`}`;
}

function upgradeLine(last: UpgradeSummary | null): string {
  if (last === null) return 'none';
  const { at, trigger, outcome, from, to, phase, reason } = last;
  const what = outcome === 'committed' ? `${from} -> ${to}` : `failed in ${phase}, ${reason}`;
  return `${at}, by ${trigger}: ${what}`;
}

function movedRows(sessions: Moved | undefined): readonly (readonly [string, string])[] {
  if (sessions === undefined) return [];
  const { moved, engines, kept, reason, lost, pauses } = sessions;
  const why = kept > 0 && reason !== undefined ? ` (${reason})` : '';
  return [
    ['  sessions', `${moved} moved, ${kept} stayed${why}, ${lost} lost`],
    ...(moved === 0
      ? []
      : ([
          ['  moved', enginesText(engines)],
          ['  pause', `longest ${msText(pauses.longest_us)}, p99 ${msText(pauses.p99_us)}`],
        ] as const)),
  ];
}

/** The two largest units: `3d 4h`, `12m 5s`. */
export function durationText(seconds: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ] as const;
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return '0s';
  let rest = seconds;
  const parts = units.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return `${count}${unit}`;
  });
  return parts.join(' ');
}
