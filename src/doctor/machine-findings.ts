// SPDX-License-Identifier: MIT
// What the rest of the machine can and can't do: network devices, limits, OpenSSL, and where this process runs.
import { connectionsFor, filesFor } from '../config/defaults.ts';
import type { Facts } from './facts.ts';
import type { Finding } from './finding.ts';

export function machineFindings(facts: Facts): readonly Finding[] {
  return [...devices(facts), files(facts), pipes(facts), openssl(facts), groups(facts), rights(facts), loopback(facts)];
}

function devices({ devices }: Facts): readonly Finding[] {
  const found = { id: 'nic-offload', section: 'network', status: 'note', topic: 'TLS offload' } as const;
  if (typeof devices === 'string') return [{ ...found, text: `devices could not be listed: ${devices}` }];
  const able = devices.filter(({ tx, rx }) => tx !== 'unavailable' || rx !== 'unavailable');
  const failed = devices.filter(({ error }) => error !== '');
  const unasked = failed.map(({ device, error }) => `; ${device} could not be asked: ${error}`).join('');
  if (able.length === 0) {
    const meaning = 'The CPU encrypts, as on nearly every machine.';
    return [{ ...found, text: `no device can${unasked}`, meaning }];
  }
  return able.map(({ device, tx, rx }) => {
    const off = [...(tx === 'off' ? ['tls-hw-tx-offload'] : []), ...(rx === 'off' ? ['tls-hw-rx-offload'] : [])];
    return {
      ...found,
      topic: device,
      text: `send ${tx}, receive ${rx}`,
      meaning: 'Where it is on, the kernel has the device encrypt TLS 1.2; TLS 1.3 stays with the CPU.',
      ...(off.length === 0
        ? {}
        : {
            action: 'To try it, run as root:',
            command: `ethtool -K ${device} ${off.map((name) => `${name} on`).join(' ')}`,
          }),
    };
  });
}

/** Fewer than this is seldom what somebody wants of a server. */
const fewConnections = 10_000;

/** Connections that the limits of files allow: what max_connections is when it is left out. Undefined: not known. */
export function allowedConnections({ files }: Facts): number | undefined {
  const { hard, fileMax } = files;
  return hard === undefined ? undefined : connectionsFor(Math.min(hard, fileMax ?? Number.POSITIVE_INFINITY));
}

function files(facts: Facts): Finding {
  const { hard, nrOpen, fileMax } = facts.files;
  const found = { id: 'files', section: 'limits', topic: 'open files' } as const;
  const connections = allowedConnections(facts);
  if (hard === undefined || connections === undefined) {
    const meaning = 'ironsocket reads its limit there and can not start without /proc.';
    return { ...found, status: 'warn', text: '/proc/self/limits can not be read', meaning, action: 'Mount /proc.' };
  }
  const system =
    fileMax !== undefined && fileMax < hard ? `, ${counted(fileMax)} in the whole system (fs.file-max)` : '';
  const text = `${counted(hard)} (RLIMIT_NOFILE, hard)${system}: ${counted(connections)} connections`;
  if (connections >= fewConnections) return { ...found, status: 'ok', text };
  const wanted = filesFor(fewConnections);
  const ofSystem = fileMax !== undefined && fileMax < wanted;
  const meaning = `More clients than ${counted(connections)} at once are refused, unless the limit is raised.`;
  const most = nrOpen === undefined ? '' : ` (at most fs.nr_open, ${counted(nrOpen)})`;
  const how = `Raise it: LimitNOFILE= for systemd, --ulimit nofile= for Docker, ulimit -Hn for a shell${most}.`;
  return {
    ...found,
    status: 'warn',
    text,
    meaning,
    ...(ofSystem
      ? { action: 'Raise the limit of the system, as root:', command: `sysctl fs.file-max=${wanted}` }
      : { action: how }),
  };
}

// What a relay thread wants for its pipe, and the least with which it splices (native/relay/pipe.h).
const pageBytes = 4096;
const wantedPages = 64;
const leastPages = 16;

function pipes({ pipes: { maxSize, userPagesSoft }, relayThreads }: Facts): Finding {
  const found = { id: 'pipes', section: 'limits', topic: 'pipes' } as const;
  if (maxSize === undefined || userPagesSoft === undefined)
    return { ...found, status: 'note', text: 'limits can not be read' };
  const pages = userPagesSoft === 0 ? 'no limit' : `${counted(userPagesSoft)} pages`;
  const text = `${counted(maxSize)} bytes each, ${pages} for a user (fs.pipe-max-size, fs.pipe-user-pages-soft)`;
  const room = userPagesSoft === 0 ? Number.POSITIVE_INFINITY : userPagesSoft / relayThreads;
  if (room < leastPages) {
    return {
      ...found,
      status: 'warn',
      text,
      meaning: 'The pipes of some relay threads stay too short to splice through, so they copy.',
      action: 'Raise it, as root:',
      command: `sysctl fs.pipe-user-pages-soft=${relayThreads * wantedPages * 4}`,
    };
  }
  if (room >= wantedPages && maxSize >= wantedPages * pageBytes) return { ...found, status: 'ok', text };
  const meaning = `Relay threads get shorter pipes than the ${wantedPages} pages they would use, and splice in smaller steps.`;
  const command = 'sysctl fs.pipe-max-size=1048576 fs.pipe-user-pages-soft=16384';
  return { ...found, status: 'note', text, meaning, action: 'Raise them, as root:', command };
}

const safeOpenssl = [3, 5, 7] as const;

function openssl({ openssl: { linked, builtIn, node } }: Facts): Finding {
  const found = { id: 'openssl-version', section: 'openssl', topic: 'OpenSSL' } as const;
  if (linked !== builtIn) {
    return {
      ...found,
      status: 'warn',
      text: `${linked}, though Node ${node} says ${builtIn}`,
      meaning: 'The addon has found another library than that of Node, with which nothing is tested.',
      action: 'Start it without LD_LIBRARY_PATH and LD_PRELOAD, on a Node that brings its own OpenSSL.',
    };
  }
  const text = `${linked}, of Node ${node}`;
  if (!isOlder(linked, safeOpenssl)) return { ...found, status: 'ok', text };
  return {
    ...found,
    status: 'warn',
    text,
    meaning: `Known faults are fixed in ${safeOpenssl.join('.')}.`,
    action: 'Update Node, which brings OpenSSL with it.',
  };
}

function isOlder(version: string, than: readonly number[]): boolean {
  const parts = version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const at = than.findIndex((part, index) => (parts[index] ?? 0) !== part);
  return at >= 0 && (parts[at] ?? 0) < (than[at] ?? 0);
}

function groups({ openssl }: Facts): Finding {
  const found = { id: 'groups', section: 'openssl', topic: 'groups' } as const;
  const names = Object.entries(openssl.groups);
  const there = names.filter(([, has]) => has).map(([name]) => name);
  const lacking = names.filter(([, has]) => !has).map(([name]) => name);
  if (lacking.length === 0) return { ...found, status: 'ok', text: there.join(', ') };
  return {
    ...found,
    status: 'warn',
    text: `${there.join(', ')}; not ${lacking.join(', ')}`,
    meaning: 'ironsocket offers all of these groups, and a worker can not start where one is missing.',
    action: 'Use a Node with OpenSSL 3.5 or newer, and look whether openssl.cnf or FIPS mode takes groups away.',
  };
}

function rights({ surroundings: { uid, mayLoadTls, container, seccomp } }: Facts): Finding {
  const user = uid === 0 ? 'root' : `user ${uid}`;
  const capability = mayLoadTls === undefined ? '' : mayLoadTls ? ' with CAP_NET_ADMIN' : ' without CAP_NET_ADMIN';
  const text = `${user}${capability}${container ? ', in a container' : ''}${seccomp ? ', under a seccomp filter' : ''}`;
  return { id: 'rights', section: 'surroundings', status: 'note', topic: 'runs as', text };
}

function loopback({ surroundings: { loopback } }: Facts): Finding {
  const found = { id: 'loopback', section: 'surroundings', topic: 'loopback' } as const;
  if (loopback === 'ok') return { ...found, status: 'ok', text: 'connections to 127.0.0.1 work' };
  return {
    ...found,
    status: 'warn',
    text: `no connection to 127.0.0.1: ${loopback}`,
    meaning: 'The kernel can not be tried, so every session is carried by the userspace engine.',
    action: 'Allow it in the sandbox, or bring the device up, as root:',
    command: 'ip link set lo up',
  };
}

function counted(number: number): string {
  return Number.isFinite(number) ? number.toLocaleString('en-US') : 'unlimited';
}
