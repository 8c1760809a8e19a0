// SPDX-License-Identifier: MIT
// `ironsocket reload`: the running service takes its configuration and certificates anew, or says what is wrong with them.
import type { Command } from 'commander';
import { ask } from '../admin/client.ts';
import { addServiceOptions, findService, type ServiceChoice } from '../admin/find.ts';
import { optionsFor, renderFaults } from '../config/render.ts';
import type { Changes } from '../master/changes.ts';
import type { ReloadReport } from '../master/reload-report.ts';

const notes = `
The service checks everything first, as "ironsocket check" does, and goes on as before when something is at fault.
Listeners come, go and change, certificates are read again; no session notices, no connection is refused.
SIGHUP does the same; the log tells the outcome.
Exits with 0 when the new configuration is at work, with 78 when it is at fault, with 75 when a reload can not be now,
and with 71 when there is no such service.

Examples:
  ironsocket reload
  ironsocket reload -c /etc/ironsocket/ironsocket.yaml
`;

export function addReload(command: Command): Command {
  return addServiceOptions(command)
    .option('--json', 'what has changed as JSON')
    .addHelpText('after', notes)
    .action(async ({ json = false, ...choice }: ServiceChoice & { json?: boolean }) => {
      const report = (await ask(await findService(choice), { command: 'reload' })) as ReloadReport;
      const { warnings } = report;
      if (warnings.length > 0) process.stderr.write(`${renderFaults(warnings, optionsFor(process.stderr))}\n`);
      process.stdout.write(json ? `${JSON.stringify(report)}\n` : reloadText(report.changes));
    });
}

/** One line for each kind of change. */
export function reloadText({ added, removed, changed, settings, later, certificates }: Changes): string {
  const rows = [
    ...added.map((name) => `listener added: ${name}`),
    ...removed.map((name) => `listener removed: ${name}`),
    ...changed.map(({ name, keys }) => `listener changed: ${name} (${keys.join(', ')})`),
    ...settings.map((key) => `changed: ${key}`),
    ...later.map((key) => `from the next start on: ${key}`),
    ...certificates.map((file) => `certificate renewed: ${file}`),
  ];
  return rows.length === 0
    ? 'reloaded, nothing has changed\n'
    : `reloaded\n${rows.map((row) => `  ${row}\n`).join('')}`;
}
