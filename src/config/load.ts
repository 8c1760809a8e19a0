// SPDX-License-Identifier: MIT
// From a request (a file, flags, or the demo) to a Config and all that is wrong with it. Looks at the text only: what the
// machine must have (files, ports, rights) is the matter of check.ts.
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { ConfigError } from '../errors.ts';
import type { Config, KernelDirections, ListenerConfig } from './config.ts';
import * as defaults from './defaults.ts';
import { type Complaint, type Fault, sortFaults } from './fault.ts';
import { type ConfigRequest, type Flags, flagSource } from './flags.ts';
import { complaintsOf } from './issues.ts';
import { absoluteAddress, absoluteControl, absoluteLog, type Parts, readParts } from './parts.ts';
import { configSchema, configShape, type RawConfig, type RawListener, timeoutsShape } from './schema.ts';
import { semanticComplaints } from './semantics.ts';
import { faultOf, type Source } from './source.ts';
import { readText } from './text.ts';
import { type Address, addressText, parseDuration } from './values.ts';
import { parseYaml } from './yaml.ts';

/** What a request gave, with all that its text shows to be wrong. */
export interface Reading {
  /** Undefined when there is a fault. */
  readonly config: Config | undefined;
  readonly faults: readonly Fault[];
  /** What can be read, for the checks of the machine. */
  readonly parts: Parts;
  /** Puts a complaint about the configuration to its place. */
  readonly locate: (complaint: Complaint) => Fault;
}

/** Throws ConfigError with every fault that the text shows. */
export function loadConfig(request: ConfigRequest): Config {
  const { config, faults } = readConfig(request);
  if (config === undefined) throw new ConfigError(faults);
  return config;
}

/** Throws ConfigError only when there is no YAML to read. */
export function readConfig(request: ConfigRequest): Reading {
  if (request.file !== undefined) return readFile(request.file);
  if (!request.demo) return build(flagSource(request.flags ?? {}), [], undefined);
  const { config, parts, ...rest } = build(flagSource({ ...request.flags, ...demoFlags }), [], undefined);
  const listeners = config?.listeners.map((each) => ({ ...each, backend: '', certificates: [] })) ?? [];
  return {
    ...rest,
    config: config && { ...config, demo: true, listeners },
    // it looks for a free port by itself, and makes the rest
    parts: {
      ...parts,
      listeners: parts.listeners.map((each) => ({ ...each, addresses: [], backend: undefined, certificates: [] })),
    },
  };
}

/** What of the demo is known before its certificate and backend are made: these two are only to satisfy the schema. */
const demoFlags: Flags = {
  name: 'demo',
  listen: ['127.0.0.1:8443'],
  backend: 'unix:/demo',
  cert: ['/demo'],
  key: ['/demo'],
  'proxy-protocol': 'v2',
};

function readFile(file: string): Reading {
  const read = readText(file);
  if ('fault' in read) throw new ConfigError([read.fault]);
  const { source, faults } = parseYaml(read.text, file);
  if (source === undefined) throw new ConfigError(faults);
  return build(source, faults, resolve(file));
}

function build(source: Source, before: readonly Fault[], file: string | undefined): Reading {
  const parsed = configSchema.safeParse(source.value);
  const parts = readParts(source);
  const complaints = [
    ...(parsed.success ? [] : complaintsOf(parsed.error.issues, source)),
    ...semanticComplaints(parts),
  ];
  const locate = (complaint: Complaint) => faultOf(source, complaint);
  const faults = unique(sortFaults([...before, ...complaints.map(locate)]));
  const config = parsed.success && faults.length === 0 ? resolveConfig(parsed.data, source, file) : undefined;
  return { config, faults, parts, locate };
}

function unique(faults: readonly Fault[]): Fault[] {
  const key = ({ line, column, path, message }: Fault) => JSON.stringify([line, column, path, message]);
  return [...new Map(faults.map((fault) => [key(fault), fault])).values()];
}

function resolveConfig(raw: RawConfig, source: Source, file: string | undefined): Config {
  const { log } = raw;
  const testRecords = Number(process.env.IRONSOCKET_TEST_KEY_UPDATE_RECORDS ?? 0);
  return {
    ...(file === undefined ? {} : { file }),
    demo: false,
    ...(raw.user === undefined ? {} : { user: raw.user }),
    ...(raw.group === undefined ? {} : { group: raw.group }),
    maxConnections: raw.max_connections ?? defaults.connectionsFor(defaults.fileLimit()),
    handshakeThreads: raw.threads?.handshake ?? availableParallelism(),
    relayThreads: raw.threads?.relay ?? availableParallelism(),
    logLevel: log?.level ?? 'info',
    logFile: absoluteLog(log?.file ?? 'stdout', source.directory),
    ...(raw.control === undefined ? {} : { control: absoluteControl(raw.control, source.directory) }),
    drainMs: raw.timeouts?.drain ?? fixedMs(configShape.timeouts.unwrap().shape.drain),
    tickets: raw.tls?.tickets ?? true,
    listeners: raw.listeners.map((listener) => resolveListener(listener, raw, source.directory)),
    keyUpdateRecords: Number.isSafeInteger(testRecords) && testRecords > 0 ? testRecords : 0,
    kernelDirections: testDirections(process.env.IRONSOCKET_TEST_KERNEL_DIRECTIONS),
  };
}

function testDirections(text: string | undefined): KernelDirections {
  return text === 'tx' || text === 'rx' ? text : 'both';
}

function resolveListener(listener: RawListener, top: RawConfig, directory: string): ListenerConfig {
  const tls = { ...top.tls, ...listener.tls };
  const timeouts = { ...top.timeouts, ...listener.timeouts };
  const listen = Array.isArray(listener.listen) ? listener.listen : [listener.listen];
  const addresses = listen.map((address) => addressText(absoluteAddress(address, directory)));
  return {
    name: listener.name ?? addressText(listen[0] as Address),
    addresses,
    v6Only: listener.v6_only ?? false,
    backend: addressText(absoluteAddress(listener.backend, directory)),
    certificates: listener.certificates.map(({ cert, key }) => ({
      cert: resolve(directory, cert),
      key: resolve(directory, key),
    })),
    proxyProtocol: listener.proxy_protocol ?? 'none',
    onTruncation: listener.on_truncation ?? 'fin',
    offload: listener.offload ?? top.offload ?? 'auto',
    offloadAfter: listener.offload_after ?? top.offload_after ?? 0,
    minVersion: tls.min_version ?? '1.2',
    maxVersion: tls.max_version ?? '1.3',
    ciphers: tls.ciphers ?? [],
    alpn: tls.alpn ?? [],
    handshakeMs: timeouts.handshake ?? fixedMs(timeoutsShape.handshake),
    connectMs: timeouts.connect ?? fixedMs(timeoutsShape.connect),
    idleMs: timeouts.idle ?? fixedMs(timeoutsShape.idle),
    halfClosedMs: timeouts.half_closed ?? fixedMs(timeoutsShape.half_closed),
  };
}

/** The default of a duration, which the schema has as text for the reference. */
function fixedMs(key: { unwrap(): { meta(): Readonly<Record<string, unknown>> | undefined } }): number {
  const parsed = parseDuration(String(key.unwrap().meta()?.defaultValue));
  if ('message' in parsed) throw new Error(`the schema has a bad default: ${parsed.message}`);
  return parsed.value;
}
