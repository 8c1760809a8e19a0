// SPDX-License-Identifier: MIT
// Programs that a test talks to by their stdin and stdout.
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { timeFactor } from './time.ts';

export interface Program {
  readonly child: ChildProcessWithoutNullStreams;
  /** To its stdin. */
  readonly say: (text: string) => void;
  /** Waits until `text` comes on stdout or stderr, behind what was heard before. Rejects when the program ends first, or after 10 s. */
  readonly hear: (text: string) => Promise<void>;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  /** All that came so far on both. */
  readonly output: () => string;
}

/** Starts a program; killed with the process at the latest. */
export function startProgram(command: string, args: readonly string[]): Program {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.on('exit', kill);
  let output = '';
  let heard = 0;
  let wake = Promise.withResolvers<void>();
  const tell = (): void => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      tell();
    });
  }
  // It may have ended.
  child.stdin.on('error', () => {});
  let over = false;
  const ended = new Promise<number | string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code ?? signal ?? ''));
  });
  void ended.then(() => {
    over = true;
    process.off('exit', kill);
    tell();
  });
  const hear = async (text: string): Promise<void> => {
    const until = performance.now() + 10_000 * timeFactor;
    for (;;) {
      const at = output.indexOf(text, heard);
      if (at >= 0) {
        heard = at + text.length;
        return;
      }
      const left = until - performance.now();
      if (over || left <= 0) throw new Error(`${command} did not say ${text}, only: ${output.slice(heard)}`);
      await Promise.race([wake.promise, new Promise((resolve) => setTimeout(resolve, left).unref())]);
    }
  };
  return { child, say: (text) => void child.stdin.write(text), hear, ended, output: () => output };
}

/** A reason to skip, where one of the programs is not installed. */
export function missing(...programs: readonly string[]): string | undefined {
  const found = (name: string): boolean =>
    name.startsWith('/') ? existsSync(name) : spawnSync('which', [name]).status === 0;
  const absent = programs.filter((name) => !found(name));
  return absent.length === 0 ? undefined : `not installed: ${absent.join(', ')}`;
}
