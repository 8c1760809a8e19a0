// SPDX-License-Identifier: MIT
// Commands of ironsocket that end by themselves.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cliPath, nodePath } from './installation.ts';

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `ironsocket ARGUMENT...` to its end. */
export function ironsocket(...args: string[]): Promise<Ended> {
  return ironsocketAs({}, ...args);
}

/** As another user, or with a changed environment. */
export async function ironsocketAs(
  { uid, env }: { readonly uid?: number; readonly env?: NodeJS.ProcessEnv },
  ...args: string[]
): Promise<Ended> {
  const child = spawn(nodePath, [cliPath, ...args], {
    env: { ...process.env, NO_COLOR: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code: code ?? -1, ...output };
}
