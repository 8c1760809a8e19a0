// SPDX-License-Identifier: MIT
// The command line: its commands and help, and how a failure is told.
import { Command, CommanderError } from 'commander';
import { addConfigOptions, configRequest } from '../config/flags.ts';
import { optionsFor, renderFaults } from '../config/render.ts';
import { ConfigError, ExpectedError, exitCodes, NativeError } from '../errors.ts';
import { addDoctor } from './doctor.ts';
import { addReload } from './reload.ts';
import { addStat } from './stat.ts';
import { addStatus } from './status.ts';
import { addUpgrade } from './upgrade.ts';
import { packageVersion, versionText } from './version.ts';

const examples = `
Examples:
  ironsocket run --demo
  ironsocket run --listen '*:8443' --backend 127.0.0.1:8080 --cert fullchain.pem --key privkey.pem
  ironsocket check -c ironsocket.yaml
  ironsocket run -c ironsocket.yaml
`;

const runNotes = `
Give a file, or flags, or --demo. Signals: TERM and INT end it when its sessions have ended (a second one at once),
HUP takes the configuration anew, USR1 opens the log file again,
USR2 upgrades. docs/configuration.md explains every key of the file.

Examples:
  ironsocket run -c /etc/ironsocket/ironsocket.yaml
  ironsocket run --listen 0.0.0.0:8443 --backend 127.0.0.1:8080 --cert fullchain.pem --key privkey.pem
`;

const checkNotes = `
Takes what "ironsocket run" takes, and starts nothing. Looks at the text, certificates and keys, rights, limits and ports.
Exits with 0 when all is well, and with 78 when something is at fault.

Example:
  ironsocket check -c ironsocket.yaml
`;

/** Runs the command line given without `node` and script. Resolves to the exit code; `run` does not return when all is well. */
export async function main(args: readonly string[]): Promise<number> {
  const debug = args.includes('--debug');
  try {
    await program().parseAsync([...args], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    // commander has told what is wrong, or shown what was asked for
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    return report(error, debug);
  }
}

function program(): Command {
  const root = new Command('ironsocket')
    .description('Ends TLS in front of a TCP service: clients speak TLS to ironsocket, your service gets plain bytes.')
    .version(packageVersion(), '--version', 'print the version')
    .addHelpText('after', examples)
    .option('--debug', 'show where in the program a failure happened')
    .helpCommand('help [COMMAND]', 'show the help of a command')
    .exitOverride()
    .configureHelp({ showGlobalOptions: false });
  const command = (name: string, description: string) =>
    root
      .command(name)
      .description(description)
      .option('--debug', 'show where in the program a failure happened')
      .exitOverride();

  addConfigOptions(command('run', 'serve, until told to stop'))
    .addHelpText('after', runNotes)
    .action(async (options: Record<string, unknown>) => {
      const request = configRequest(options);
      const { run } = await import('./run.ts');
      await run({ request, args: argumentsOf(process.argv.slice(2), 'run') });
    });
  addConfigOptions(command('check', 'look for faults in a configuration and in what it needs'))
    .addHelpText('after', checkNotes)
    .action(async (options: Record<string, unknown>) => {
      const request = configRequest(options);
      const { check } = await import('./check.ts');
      check(request);
    });
  addReload(command('reload', 'have the running service take its configuration and certificates anew'));
  addStatus(command('status', 'show what the running service is and does'));
  addUpgrade(command('upgrade', 'replace the running service by another version, without a refused connection'));
  addStat(command('stat', 'show what the kernel counts of TLS (/proc/net/tls_stat)'));
  addDoctor(command('doctor', 'tell what this machine can do for TLS, what is missing, and what to do about it'));
  command('version', 'print the versions of ironsocket and of what it stands on').action(() => {
    process.stdout.write(versionText());
  });
  return root;
}

/** What follows the name of the command. */
function argumentsOf(args: readonly string[], name: string): readonly string[] {
  return args.slice(args.indexOf(name) + 1);
}

/** Tells a failure on stderr: what failed, where, and what to do. Returns the exit code. */
export function report(error: unknown, debug: boolean): number {
  const known = nativeError(error) ?? error;
  if (known instanceof ConfigError) {
    process.stderr.write(`${renderFaults(known.faults, optionsFor(process.stderr))}\n${countText(known)}\n`);
  } else if (known instanceof ExpectedError) {
    process.stderr.write(
      `ironsocket: ${known.message}\n${known.hint === undefined ? '' : `      help: ${known.hint}\n`}`,
    );
  } else {
    const text = known instanceof Error ? (known.stack ?? known.message) : String(known);
    process.stderr.write(`ironsocket: internal error, please report it\n${text}\n`);
    return exitCodes.internal;
  }
  if (debug)
    process.stderr.write(`${known.stack}\n${known.cause instanceof Error ? `caused by: ${known.cause.stack}\n` : ''}`);
  return known.exitCode;
}

function countText({ faults }: ConfigError): string {
  const count = (severity: string) => faults.filter((fault) => fault.severity === severity).length;
  const text = (number: number, noun: string) => (number === 0 ? [] : [`${number} ${noun}${number === 1 ? '' : 's'}`]);
  return [...text(count('fault'), 'fault'), ...text(count('warning'), 'warning')].join(', ');
}

/** The addon is loaded by a require() of native.ts: what that throws is about the installation. */
function nativeError(error: unknown): NativeError | undefined {
  const { code, message } = (error ?? {}) as NodeJS.ErrnoException;
  const missing = code === 'MODULE_NOT_FOUND' && message.includes('ironsocket.node');
  if (!missing && code !== 'ERR_DLOPEN_FAILED') return undefined;
  const [first] = message.split('\n');
  return new NativeError(
    missing ? 'the addon build/Release/ironsocket.node is not built' : `the addon can not be loaded: ${first}`,
    {
      hint: 'build it for this Node: npm run build',
      cause: error,
    },
  );
}
