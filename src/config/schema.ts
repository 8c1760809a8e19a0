// SPDX-License-Identifier: MIT
// Every key of the configuration: what it takes, what it means, what it is when left out. The loader checks with it, and
// scripts/generate.ts makes docs/configuration.md and the JSON schema for editors from it.
import { z } from 'zod';
import type { TlsVersion } from './config.ts';
import { suiteNames } from './suites.ts';
import * as values from './values.ts';

/** What the reference says of a key, beside its description. `kind` names a row of `kinds`. */
export interface KeyNotes {
  readonly description: string;
  readonly kind?: keyof typeof kinds;
  /** Not `default` and `examples`, which zod drops where a value is transformed. */
  readonly defaultValue?: unknown;
  /** For defaults that are no fixed value. */
  readonly defaultText?: string;
  readonly samples?: readonly unknown[];
}

/** Text with a meaning of its own: how the reference calls it, and what JSON schema can check of it. */
export const kinds = {
  duration: {
    text: 'duration',
    schema: { type: ['string', 'integer'], pattern: '^(0|([0-9]+(ms|s|m|h|d))+)$', maximum: 0, minimum: 0 },
  },
  size: {
    text: 'size',
    schema: { type: ['string', 'integer'], pattern: '^(0|[0-9]+(B|KiB|MiB|GiB))$', maximum: 0, minimum: 0 },
  },
  timeout: { text: 'duration', schema: { type: 'string', pattern: '^([0-9]+(ms|s|m|h|d))+$' } },
  listen: { text: 'address', schema: { type: 'string' } },
  backend: { text: 'address', schema: { type: 'string' } },
  path: { text: 'path', schema: { type: 'string', minLength: 1 } },
  account: { text: 'name or number', schema: { type: ['string', 'integer'], minimum: 0 } },
  suite: { text: 'suite', schema: { enum: suiteNames } },
  protocol: { text: 'protocol', schema: { type: 'string', minLength: 1, maxLength: 255 } },
  name: { text: 'name', schema: { type: ['string', 'integer'] } },
  version: { text: '"1.2" or "1.3"', schema: { enum: ['1.2', '1.3', 1.2, 1.3] } },
} as const;

/** Text, or a number that YAML took the text for. A hint follows the message in `params`. */
function parsed<T>(parse: (text: string) => values.Parsed<T>, expected: string) {
  return z.union([z.string(), z.number()], { error: expected }).transform((input, context): T => {
    const result = parse(String(input));
    if ('value' in result) return result.value;
    context.issues.push({ code: 'custom', message: result.message, params: { hint: result.hint }, input });
    return z.NEVER;
  });
}

/** An optional key with its notes. */
function key<S extends z.ZodType>(schema: S, notes: KeyNotes) {
  return schema.meta({ ...notes }).optional();
}

const duration = parsed(values.parseDuration, 'a duration such as 10s');
const timeout = parsed(values.parseFiniteDuration, 'a duration such as 10s');
const path = parsed(values.parseFilePath, 'a path');
const account = parsed(values.parseAccount, 'a name or a number');
const version = z
  .literal(['1.2', '1.3', 1.2, 1.3])
  .transform((input): TlsVersion => (String(input) === '1.2' ? '1.2' : '1.3'));
const threads = z.int().min(1).max(1024);

export const listenAddress = parsed(values.parseListen, 'an address').meta({ kind: 'listen' });
export const suite = parsed(values.parseSuite, 'a suite').meta({ kind: 'suite' });
export const protocol = parsed(values.parseAlpn, 'a protocol name').meta({ kind: 'protocol' });

export const tlsShape = {
  min_version: key(version, {
    description: 'Oldest TLS version that clients may use.',
    kind: 'version',
    defaultValue: '1.2',
  }),
  max_version: key(version, {
    description: 'Newest TLS version that clients may use.',
    kind: 'version',
    defaultValue: '1.3',
  }),
  ciphers: key(z.array(suite), {
    description:
      'Cipher suites by IANA name; the first that the client also has is taken. A TLS version of which the list has no suite is not offered. Empty: the default list, which is all of them but the CCM ones.',
    defaultValue: [],
    samples: [['TLS_AES_128_GCM_SHA256', 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256']],
  }),
  alpn: key(z.array(protocol), {
    description:
      'Protocols offered by ALPN, in order of preference. A client that offers ALPN and has none of them is refused. Empty: ALPN is not used.',
    defaultValue: [],
    samples: [['h2', 'http/1.1']],
  }),
};

export const timeoutsShape = {
  handshake: key(timeout, {
    description: 'From accepting the connection to the end of the TLS handshake.',
    kind: 'timeout',
    defaultValue: '10s',
  }),
  connect: key(timeout, { description: 'For connecting to the backend.', kind: 'timeout', defaultValue: '5s' }),
  idle: key(duration, {
    description: 'A session without a byte in either direction for so long is ended. 0 is never.',
    kind: 'duration',
    defaultValue: '1h',
  }),
  half_closed: key(duration, {
    description: 'When one side has finished sending, how long the other may stay silent. 0 is for ever.',
    kind: 'duration',
    defaultValue: '60s',
  }),
};

export const certificateShape = {
  cert: path.meta({
    kind: 'path',
    description:
      'PEM file with the certificate, followed by the intermediates that lead to the root. One that has expired is refused at the start.',
    samples: ['/etc/letsencrypt/live/example.com/fullchain.pem'],
  }),
  key: path.meta({
    kind: 'path',
    description:
      'PEM file with its private key, not encrypted. A file that everybody can read is refused: `chmod 600` it.',
    samples: ['/etc/letsencrypt/live/example.com/privkey.pem'],
  }),
};

const offload = z.enum(['auto', 'kernel', 'userspace']);
const size = parsed(values.parseSize, 'a size such as 64KiB');

export const offloadShape = {
  offload: key(offload, {
    description:
      "Who carries the encrypted stream once the handshake is done. `auto`: the kernel (kTLS) where it can do all that a session may ask for, ironsocket itself elsewhere; a kernel that can't renew keys (before Linux 6.14) gets TLS 1.2 only. `kernel`: the kernel, or no start where it can't (exit code 78); before Linux 6.14 it starts with a warning, and a client's KeyUpdate ends its session (`reason=no_rekey`). A session whose keys the kernel refuses when it begins stays in userspace, with `engine_reason` in its closing line and a warning in the log (`event=offload_refused`). `unix:` listeners are refused (78). `userspace`: always ironsocket itself.",
    defaultValue: 'auto',
  }),
  offload_after: key(size, {
    description:
      'How many bytes of payload a direction of a session carries before the kernel takes it over: `512B`, `64KiB`, `1MiB`. 0 is at once. Until then ironsocket itself carries it, with `kernel` too; what ends before spares the kernel its set-up.',
    kind: 'size',
    defaultValue: 0,
    samples: ['64KiB'],
  }),
};

export const listenerShape = {
  name: key(parsed(values.parseName, 'a name'), {
    description: 'What logs and metrics call it. Unique.',
    kind: 'name',
    defaultText: 'the (first) `listen` address',
    samples: ['web'],
  }),
  listen: z.union([listenAddress, z.array(listenAddress).min(1)], { error: 'an address or a list of addresses' }).meta({
    description:
      'Where clients connect: `1.2.3.4:443`, `"[2001:db8::1]:443"`, `"*:443"` for all addresses of IPv4 and IPv6, `unix:/path`, or `systemd:NAME` for a socket passed by systemd. One, or a list.',
    kind: 'listen',
    samples: ['0.0.0.0:443', ['192.0.2.1:443', '[2001:db8::1]:443']],
  }),
  v6_only: key(z.boolean(), {
    description: 'Whether `*` and `[::]` leave IPv4 out.',
    defaultValue: false,
  }),
  backend: parsed(values.parseBackend, 'an address').meta({
    description:
      'Where the decrypted bytes go: `HOST:PORT`, `"[2001:db8::1]:8080"` or `unix:/path`. A host name is resolved again from time to time.',
    kind: 'backend',
    samples: ['127.0.0.1:8080'],
  }),
  certificates: z
    .array(z.strictObject(certificateShape))
    .min(1)
    .meta({
      description:
        'Certificates with their keys. The one that fits the name the client asks for is used, otherwise the first. Paths are relative to the configuration file.',
      samples: [[{ cert: 'fullchain.pem', key: 'privkey.pem' }]],
    }),
  proxy_protocol: key(z.enum(['none', 'v1', 'v2']), {
    description:
      'Tells the backend the address of the client by a header of the PROXY protocol before the first byte. The backend must expect it.',
    defaultValue: 'none',
  }),
  on_truncation: key(z.enum(['fin', 'reset']), {
    description:
      'What the backend sees when a client closes the connection without the closing message of TLS: `fin` (end of data) or `reset` (an error, so that a cut upload never looks whole).',
    defaultValue: 'fin',
  }),
  offload: key(offload, {
    description:
      'Who carries the encrypted stream of this listener. A `unix:` socket has no kernel TLS, so `kernel` is refused with it.',
    defaultText: '`offload` of the top level',
  }),
  offload_after: key(size, {
    description: 'When the kernel takes over a direction of this listener’s sessions.',
    kind: 'size',
    defaultText: '`offload_after` of the top level',
  }),
  timeouts: key(z.strictObject(timeoutsShape), { description: 'Timeouts that differ from those at the top.' }),
  tls: key(z.strictObject(tlsShape), { description: 'TLS settings that differ from those at the top.' }),
};

export const configShape = {
  user: key(account, {
    description:
      'Who the process that talks to the network becomes. Only when started as root; without it that is `nobody`, so a `unix:` backend must let that user connect.',
    kind: 'account',
    defaultText: '`nobody` when started as root',
    samples: ['nobody'],
  }),
  group: key(account, {
    description: 'And in which group.',
    kind: 'account',
    defaultText: 'the groups of `user`',
    samples: ['nogroup'],
  }),
  max_connections: key(z.int().min(1).max(10_000_000), {
    description: 'Connections at a time, over all listeners; more are closed at once. Each needs two open files.',
    defaultText: 'what the limit of open files allows: (limit - 512) / 2, at most 1000000',
    samples: [9000],
  }),
  threads: key(
    z.strictObject({
      handshake: key(threads, { description: 'Threads for TLS handshakes.', defaultText: 'one per core' }),
      relay: key(threads, { description: 'Threads that carry the bytes.', defaultText: 'one per core' }),
    }),
    { description: 'How many threads work.' },
  ),
  log: key(
    z.strictObject({
      level: key(z.enum(['fatal', 'error', 'warn', 'info', 'debug']), {
        description: 'The least important lines that are written.',
        defaultValue: 'info',
      }),
      file: key(path, {
        description: '`stdout`, `stderr`, or a file, which is opened again at SIGUSR1.',
        kind: 'path',
        defaultValue: 'stdout',
        samples: ['/var/log/ironsocket.log'],
      }),
    }),
    { description: 'The log, in logfmt.' },
  ),
  control: key(parsed(values.parseControl, 'a path, or off'), {
    description:
      'The unix socket by which `ironsocket reload` and `ironsocket status` speak to the service: a path, or `off`. Only root and the user that started the service may connect. PID is that of the service. A reload does not move it.',
    kind: 'path',
    defaultText:
      '`PID.sock` in `/run/ironsocket` when started as root, else in `$RUNTIME_DIRECTORY` (systemd), `$XDG_RUNTIME_DIR/ironsocket` or `/tmp/ironsocket-UID`, the first that there is',
    samples: ['/run/ironsocket/web.sock'],
  }),
  timeouts: key(
    z.strictObject({
      ...timeoutsShape,
      drain: key(duration, {
        description: 'After SIGTERM, how long sessions may go on. 0 ends them at once.',
        kind: 'duration',
        defaultValue: '30s',
      }),
    }),
    { description: 'Timeouts of all listeners: `500ms`, `10s`, `5m`, `1h`.' },
  ),
  ...offloadShape,
  tls: key(
    z.strictObject({
      ...tlsShape,
      tickets: key(z.boolean(), { description: 'Whether clients may resume sessions by tickets.', defaultValue: true }),
    }),
    { description: 'TLS settings of all listeners.' },
  ),
  listeners: z.array(z.strictObject(listenerShape)).min(1).meta({
    description: 'Where clients connect, and where their bytes go.',
  }),
};

export const configSchema = z.strictObject(configShape).meta({ title: 'ironsocket configuration' });

export type RawConfig = z.output<typeof configSchema>;
export type RawListener = z.output<z.ZodObject<typeof listenerShape>>;

/** What is left of an object when every value that can't be read is taken out: semantic checks work on it, whatever else is wrong. */
export function readable<S extends z.ZodRawShape>(shape: S, input: unknown): Partial<z.output<z.ZodObject<S>>> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return {};
  const result: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(shape)) {
    const value = z.safeParse(schema, (input as Record<string, unknown>)[name]);
    if (value.success && value.data !== undefined) result[name] = value.data;
  }
  return result as Partial<z.output<z.ZodObject<S>>>;
}
