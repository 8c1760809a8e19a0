// SPDX-License-Identifier: MIT
// Who is measured side by side: each with one worker, ironsocket with one handshake and one relay thread, all of it on one core.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageVersion } from '../../src/commands/version.ts';
import type { Offload } from '../../src/config/config.ts';
import { ecdsa } from '../../test/helpers/certificates.ts';
import { cliPath, nodePath } from '../../test/helpers/installation.ts';
import { onCore, putFirst, subjectCore } from './cores.ts';
import { haproxy, hitch, nginx, type Place, packagesOf, stunnel } from './peer-settings.ts';
import { installed, type Programs } from './programs.ts';
import { startInPlace } from './running.ts';
import type { Served } from './subject.ts';

export interface Contender {
  readonly name: string;
  /** Rejects when it can't be had here. */
  start(backendPort: number): Promise<Served>;
}

/** Each has room for so many; the file limit must allow it. */
export const sessions = 4_000;

const peerNames = ['nginx', 'haproxy', 'hitch', 'stunnel'] as const;
type PeerName = (typeof peerNames)[number];

/** In the foreground. As quiet as each can be told to be about connections. */
const commands: Readonly<Record<PeerName, (place: Place) => readonly string[]>> = {
  nginx: (place) => nginx(place, 'daemon off;'),
  haproxy: (place) => [...haproxy(place), '-db'],
  hitch,
  stunnel: (place) => stunnel(place, 'debug = err'),
};

export function peersOf(programs: Programs): readonly Contender[] {
  return peerNames.map((name) => ({
    name,
    start: (backendPort) => startPeer(name, commands[name], programs, backendPort),
  }));
}

/** nginx with its sessions in the kernel both ways, if that has TLS. */
export function nginxWithKernel(programs: Programs): Contender {
  const command = (place: Place) => nginx(place, 'daemon off;', 'ssl_conf_command Options KTLS;');
  return { name: 'nginx KTLS', start: (backendPort) => startPeer('nginx', command, programs, backendPort) };
}

async function startPeer(
  name: PeerName,
  command: (place: Place) => readonly string[],
  programs: Programs,
  backendPort: number,
): Promise<Served> {
  const packages = packagesOf[name];
  programs.provide(packages);
  return startPinned(name, programs.version(packages[0] ?? ''), command, programs, backendPort);
}

/** `offload` as in the configuration. It logs as it does by default, into a file. */
export function ironsocket(offload: Offload, level: string): Contender {
  const command = ({ folder, port, backendPort }: Place) => {
    const file = join(folder, 'ironsocket.yaml');
    const config = {
      threads: { handshake: 1, relay: 1 },
      max_connections: sessions,
      log: { level, file: join(folder, 'log') },
      control: join(folder, 'control'),
      listeners: [{ listen: `127.0.0.1:${port}`, backend: `127.0.0.1:${backendPort}`, offload, certificates: [ecdsa] }],
    };
    writeFileSync(file, JSON.stringify(config)); // JSON is YAML
    return [nodePath, cliPath, 'run', '-c', file];
  };
  return {
    name: 'ironsocket',
    start: (backendPort) => startPinned('ironsocket', packageVersion(), command, installed, backendPort),
  };
}

async function startPinned(
  name: string,
  version: string,
  command: (place: Place) => readonly string[],
  programs: Programs,
  backendPort: number,
): Promise<Served> {
  const { place, running, stop } = await startInPlace({ backendPort, sessions, workers: 1, programs }, (place) => [
    ...onCore(subjectCore),
    ...command(place),
  ]);
  running.pids().forEach(putFirst);
  return { name, version, port: place.port, pids: () => running.pids(), stop };
}
