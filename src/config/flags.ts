// SPDX-License-Identifier: MIT
// The flags of `run` and `check` that stand for a configuration file, and how they become the same tree that a file gives.
import { Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../errors.ts';
import type { Path } from './fault.ts';
import type { Source } from './source.ts';

interface Flag {
  /** Without `--`. */
  readonly name: string;
  readonly argument: string;
  readonly path: Path;
  /** May be given several times; each value may hold several with commas, if `commas`. */
  readonly list?: boolean;
  readonly commas?: boolean;
  readonly number?: boolean;
  /** Says more to a newcomer than the key's own description. */
  readonly description?: string;
}

const listener: Path = ['listeners', 0];

export const configFlags: readonly Flag[] = [
  {
    name: 'listen',
    argument: 'ADDRESS',
    path: [...listener, 'listen'],
    list: true,
    description: 'where clients connect: HOST:PORT, *:PORT, unix:/path (may be repeated)',
  },
  {
    name: 'backend',
    argument: 'ADDRESS',
    path: [...listener, 'backend'],
    description: 'where the decrypted bytes go: HOST:PORT or unix:/path',
  },
  {
    name: 'cert',
    argument: 'FILE',
    path: [...listener, 'certificates', 'cert'],
    list: true,
    description: 'PEM certificate with its intermediates (may be repeated, with --key)',
  },
  {
    name: 'key',
    argument: 'FILE',
    path: [...listener, 'certificates', 'key'],
    list: true,
    description: 'PEM private key of the certificate',
  },
  { name: 'name', argument: 'NAME', path: [...listener, 'name'], description: 'what logs call the listener' },
  {
    name: 'proxy-protocol',
    argument: 'VERSION',
    path: [...listener, 'proxy_protocol'],
    description: 'tell the backend who the client is: v1 or v2',
  },
  {
    name: 'alpn',
    argument: 'LIST',
    path: ['tls', 'alpn'],
    list: true,
    commas: true,
    description: 'protocols for ALPN, for example h2,http/1.1',
  },
  {
    name: 'min-version',
    argument: 'VERSION',
    path: ['tls', 'min_version'],
    description: 'oldest TLS version: 1.2 or 1.3',
  },
  {
    name: 'max-version',
    argument: 'VERSION',
    path: ['tls', 'max_version'],
    description: 'newest TLS version: 1.2 or 1.3',
  },
  {
    name: 'cipher',
    argument: 'SUITE',
    path: ['tls', 'ciphers'],
    list: true,
    commas: true,
    description: 'cipher suite by IANA name (may be repeated)',
  },
  {
    name: 'offload',
    argument: 'MODE',
    path: ['offload'],
    description: 'who carries the encrypted bytes: auto, kernel or userspace (auto)',
  },
  {
    name: 'offload-after',
    argument: 'SIZE',
    path: ['offload_after'],
    description: 'payload of a session before the kernel takes it, for example 64KiB (0)',
  },
  { name: 'user', argument: 'USER', path: ['user'], description: 'who to become when started as root' },
  { name: 'group', argument: 'GROUP', path: ['group'], description: 'and in which group' },
  {
    name: 'max-connections',
    argument: 'N',
    path: ['max_connections'],
    number: true,
    description: 'connections at a time',
  },
  {
    name: 'handshake-threads',
    argument: 'N',
    path: ['threads', 'handshake'],
    number: true,
    description: 'threads for handshakes (one per core)',
  },
  {
    name: 'relay-threads',
    argument: 'N',
    path: ['threads', 'relay'],
    number: true,
    description: 'threads that carry the bytes (one per core)',
  },
  { name: 'log-level', argument: 'LEVEL', path: ['log', 'level'], description: 'fatal, error, warn, info or debug' },
  { name: 'log-file', argument: 'FILE', path: ['log', 'file'], description: 'stdout, stderr or a path' },
  {
    name: 'control',
    argument: 'PATH',
    path: ['control'],
    description: 'socket for ironsocket reload and status, or off',
  },
  {
    name: 'handshake-timeout',
    argument: 'TIME',
    path: ['timeouts', 'handshake'],
    description: 'for the TLS handshake (10s)',
  },
  {
    name: 'connect-timeout',
    argument: 'TIME',
    path: ['timeouts', 'connect'],
    description: 'for connecting to the backend (5s)',
  },
  {
    name: 'idle-timeout',
    argument: 'TIME',
    path: ['timeouts', 'idle'],
    description: 'for a silent session (1h; 0 is never)',
  },
  {
    name: 'half-closed-timeout',
    argument: 'TIME',
    path: ['timeouts', 'half_closed'],
    description: 'for a silent half-closed session (60s; 0 is never)',
  },
  {
    name: 'drain-timeout',
    argument: 'TIME',
    path: ['timeouts', 'drain'],
    description: 'for sessions to end after SIGTERM (30s)',
  },
];

/** What was given on the command line, by flag name without `--`, lists always as lists. */
export type Flags = Readonly<Record<string, string | readonly string[]>>;

/** Which configuration is wanted: a file, or flags, or the demo with some flags. */
export interface ConfigRequest {
  readonly file?: string;
  readonly demo?: boolean;
  readonly flags?: Flags;
}

/** Adds -c, --demo and the flags to a command. */
export function addConfigOptions(command: Command): Command {
  command.option('-c, --config <FILE>', 'the configuration file (YAML)', once);
  for (const flag of configFlags) {
    const option = new Option(`--${flag.name} <${flag.argument}>`, flag.description);
    if (flag.list) option.argParser<string[]>((value, before = []) => [...before, value]);
    else option.argParser<string>(once);
    command.addOption(option);
  }
  return command.option('--demo', 'try it: a certificate of its own on 127.0.0.1:8443 and a page behind it');
}

/** A flag that is given twice is a mistake of which one value would be lost silently. */
function once(value: string, before: string | undefined): string {
  if (before !== undefined) throw new InvalidArgumentError('It is given twice.');
  return value;
}

/** From what commander parsed (keys in camelCase). Throws UsageError when it is no request. */
export function configRequest(options: Readonly<Record<string, unknown>>): ConfigRequest {
  const file = options.config as string | undefined;
  const demo = options.demo === true;
  const flags: Record<string, string | readonly string[]> = {};
  for (const { name } of configFlags) {
    const value = options[name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    if (value !== undefined) flags[name] = value as string | readonly string[];
  }
  const [first] = Object.keys(flags);
  const hint = 'see ironsocket run --help';
  if (file !== undefined && demo) throw new UsageError('--demo needs no file: leave out -c', { hint });
  if (file !== undefined && first !== undefined) {
    throw new UsageError(`--${first} can not be combined with -c`, {
      hint: `write it into ${file}, or use flags only`,
    });
  }
  const listenerFlag = configFlags.find(({ name, path }) => path[0] === 'listeners' && flags[name] !== undefined);
  if (demo && listenerFlag !== undefined)
    throw new UsageError(`--${listenerFlag.name} can not be combined with --demo`, { hint });
  if (file === undefined && !demo && listenerFlag === undefined) {
    throw new UsageError('there is no configuration', {
      hint: 'give -c FILE, or --listen, --backend, --cert and --key, or try --demo',
    });
  }
  return { ...(file === undefined ? {} : { file }), demo, flags };
}

/** For processes that get the flags of `run` handed on: the same parsing, without help and without exit. */
export function parseConfigArguments(args: readonly string[]): ConfigRequest {
  const command = addConfigOptions(new Command())
    .option('--debug')
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  try {
    command.parse([...args], { from: 'user' });
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/^error: /, ''), { cause: error });
  }
  return configRequest(command.opts());
}

/** The tree that the flags stand for. Relative paths start from the working directory. */
export function flagSource(flags: Flags): Source {
  const tree: Record<string, unknown> = Object.create(null);
  for (const flag of configFlags) {
    const given = flags[flag.name];
    if (given === undefined || flag.path[2] === 'certificates') continue;
    const values = typeof given === 'string' ? [given] : given;
    const split = flag.commas ? values.flatMap((value) => value.split(',')) : values;
    // what is no plain number stays text, and is refused by the schema as text
    const single = flag.number && /^[1-9]\d*$/.test(values[0] ?? '') ? Number(values[0]) : values[0];
    put(tree, flag.path, flag.list ? split : single);
  }
  const certificates = pairCertificates(flags);
  if (certificates.length > 0) put(tree, [...listener, 'certificates'], certificates);
  return {
    value: tree,
    directory: process.cwd(),
    place: (path) => ({ flag: flagName(path) }),
    keyName: flagName,
  };
}

/** The n-th --key belongs to the n-th --cert. A missing one is left out, which the schema then misses. */
function pairCertificates(flags: Flags): Record<string, string>[] {
  const certs = flags.cert ?? [];
  const keys = flags.key ?? [];
  return Array.from({ length: Math.max(certs.length, keys.length) }, (_, index) => ({
    ...(certs[index] === undefined ? {} : { cert: certs[index] }),
    ...(keys[index] === undefined ? {} : { key: keys[index] }),
  }));
}

function put(tree: Record<string, unknown>, path: Path, value: unknown): void {
  let current: Record<string | number, unknown> = tree;
  path.forEach((part, index) => {
    const last = index === path.length - 1;
    if (last || current[part] === undefined) {
      current[part] = last ? value : typeof path[index + 1] === 'number' ? [] : Object.create(null);
    }
    current = current[part] as typeof current;
  });
}

function flagName(path: Path): string {
  const words = path.filter((part) => typeof part === 'string');
  const matches = (flag: Flag, length: number) =>
    flag.path
      .filter((part) => typeof part === 'string')
      .slice(0, length)
      .join('.') === words.slice(0, length).join('.');
  // --cert speaks for the certificates as a whole, --listen for a listener as a whole
  for (let length = words.length; length > 0; length--) {
    const flag = configFlags.find((candidate) => matches(candidate, length));
    if (flag !== undefined) return `--${flag.name}`;
  }
  return '--listen';
}
