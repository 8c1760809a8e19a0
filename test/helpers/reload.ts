// SPDX-License-Identifier: MIT
// Reloads of a proxy under test: its configuration file changed, and what must not notice.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LogLine } from './log-lines.ts';
import type { RunningProxy } from './proxy.ts';
import { tlsConnect } from './tls-client.ts';

interface Document {
  listeners: Record<string, unknown>[];
  [key: string]: unknown;
}

export const configFile = ({ directory }: RunningProxy): string => join(directory, 'ironsocket.yaml');

/** Changes the configuration of a proxy, whose next reload takes it. */
export function edit(proxy: RunningProxy, change: (document: Document) => void): void {
  const file = configFile(proxy);
  const document = JSON.parse(readFileSync(file, 'utf8')) as Document;
  change(document);
  writeFileSync(`${file}.new`, JSON.stringify(document, null, 2));
  renameSync(`${file}.new`, file);
}

/** HUP; the line with which the reload ends. */
export function reload(proxy: RunningProxy): Promise<LogLine> {
  const from = proxy.log.lines.length;
  process.kill(proxy.keeperPid, 'SIGHUP');
  return proxy.log.waitFor({ event: 'reload', trigger: 'signal' }, { from });
}

/** Changes the configuration and has it taken. Throws when it was not. */
export async function change(proxy: RunningProxy, how: (document: Document) => void): Promise<LogLine> {
  edit(proxy, how);
  const line = await reload(proxy);
  if (line.outcome !== 'changed') throw new Error(`the reload was ${line.outcome}\n${proxy.log.tail()}`);
  return line;
}

export interface Attempts {
  /** Waits until one more has been served. */
  readonly more: () => Promise<void>;
  /** Ends them; how many clients connected, shook hands and had their bytes echoed. Throws when one did not. */
  readonly stop: () => Promise<number>;
}

/** Clients of an echo service, one after the other in two rows, until stopped. */
export function keepConnecting(port: number): Attempts {
  let stopping = false;
  let served = 0;
  let tell = Promise.withResolvers<void>();
  const row = async (): Promise<void> => {
    while (!stopping) {
      const { peer, socket } = await tlsConnect({ port });
      socket.write('hello');
      await peer.read(5);
      socket.end();
      await peer.end;
      socket.destroy();
      served++;
      tell.resolve();
      tell = Promise.withResolvers<void>();
    }
  };
  const rows = Promise.all([row(), row()]);
  rows.catch(() => {});
  return {
    more: () => Promise.race([tell.promise, rows.then(() => {})]),
    stop: async () => {
      stopping = true;
      await rows;
      return served;
    },
  };
}

/** Waits until the keeper has taken all that the master has told it: it reads that before it passes on a signal. */
export async function keeperIsDone(proxy: RunningProxy): Promise<void> {
  const from = proxy.log.lines.length;
  process.kill(proxy.keeperPid, 'SIGUSR1');
  await proxy.log.waitFor({ event: 'signal_received', signal_string: 'SIGUSR1' }, { from });
}
