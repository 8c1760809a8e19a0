// SPDX-License-Identifier: MIT
// `ironsocket doctor`: what this machine can do for TLS, what is missing, and what to do about it.
import type { Command } from 'commander';
import { optionsFor } from '../config/render.ts';

const notes = `
Tries what the kernel can carry, on connections over the loopback, and looks at network devices, limits and OpenSSL.
Needs no rights; as root, trying can load the kernel's module tls. docs/doctor.md explains every finding.
  ok       as it should be
  note     a fact or a limit, nothing has to be done
  warn     works, and something should be done about it
  missing  could be there and is not: the userspace engine does the work
Exits with 0 whatever it has found, with 70 when it could not look at all, and with 74 when it can't write.

Examples:
  ironsocket doctor
  ironsocket doctor --json | jq '.findings[] | select(.status == "warn")'
`;

/** Gives the command its options and what it does. */
export function addDoctor(command: Command): Command {
  return command
    .option('--json', 'everything as JSON')
    .addHelpText('after', notes)
    .action(async ({ json = false }: { json?: boolean }) => doctor(json));
}

/** Prints the report to stdout. Loads the addon: only when it is asked to. */
async function doctor(json: boolean): Promise<void> {
  const { gatherFacts } = await import('../doctor/facts.ts');
  const { makeReport } = await import('../doctor/report.ts');
  const { renderReport } = await import('../doctor/render.ts');
  const report = makeReport(await gatherFacts());
  const text = json ? `${JSON.stringify(report, undefined, 2)}\n` : renderReport(report, optionsFor(process.stdout));
  process.stdout.write(text);
}
