// SPDX-License-Identifier: MIT
// The first phase of an upgrade: the other installation's own programs are tried, on what is in memory here. Nothing changes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { controlVersion } from '../control-version.ts';
import { RetryError } from '../errors.ts';
import { monotonicMs, stateVersion } from '../master/state.ts';
import { type Examined, native } from '../native.ts';
import { mapDescriptors, type WorkerPlan } from '../worker/messages.ts';
import type { Installation } from './installation.ts';

/** Of the snapshot that a keeper leaves its successor (native/keeper/snapshot.h). */
const snapshotVersion = '1';
const firstFd = 3;
const wordsShown = 500;

export interface Question {
  readonly control: number;
  readonly state: number;
  readonly handoff: number;
  readonly worker: WorkerPlan;
  /** Descriptors with the sessions that there are (native.examineInventory). */
  readonly sessions: readonly number[];
}

/** What the other version says of itself; `error`: why it can't take over. */
export interface Verdict {
  readonly version: string;
  readonly node: string;
  readonly openssl: string;
  readonly error?: string | undefined;
  /** What it makes of the sessions. */
  readonly sessions?: Examined | undefined;
}

/**
 * Throws RetryError with the reason when the installation can't take over. `plan` is the one at work, `sessions` an inventory; the
 * descriptors of both are borrowed.
 */
export async function preflight(
  installation: Installation,
  plan: WorkerPlan,
  sessions: readonly number[],
  limitMs: number,
): Promise<Verdict> {
  const { keeper, node } = installation;
  const deadline = monotonicMs() + limitMs;
  const known = await runProgram([keeper, '--knows', snapshotVersion], [], '', limitMs);
  if (known.code !== 0) throw new RetryError(`its keeper can't go on from this one: ${wordsOf(known)}`);
  const fds: number[] = [];
  const placeOf = (fd: number): number => firstFd + (fds.includes(fd) ? fds.indexOf(fd) : fds.push(fd) - 1);
  const versions = { control: controlVersion, state: stateVersion, handoff: native.handoffVersion() };
  const question: Question = { ...versions, worker: mapDescriptors(plan, placeOf), sessions: sessions.map(placeOf) };
  const command = [node, '--disable-sigusr1', installation.preflight];
  const answer = await runProgram(command, fds, JSON.stringify(question), deadline - monotonicMs());
  const verdict = answer.code === 0 ? parsed(answer.stdout) : undefined;
  if (verdict === undefined) throw new RetryError(`the preflight of ${installation.root} failed: ${wordsOf(answer)}`);
  if (verdict.error !== undefined) throw new RetryError(`version ${verdict.version} can't take over: ${verdict.error}`);
  return verdict;
}

interface Answer {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function runProgram(
  [program = '', ...args]: readonly string[],
  fds: readonly number[],
  input: string,
  limitMs: number,
): Promise<Answer> {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe', ...fds],
    cwd: '/',
    // Of an upgrade whose time is up nothing may be left.
    timeout: Math.max(1, Math.ceil(limitMs)),
    killSignal: 'SIGKILL',
  });
  const exited = once(child, 'exit') as Promise<[number | null, string | null]>;
  exited.catch(() => {});
  // The service may be told to end meanwhile.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const { stdin, stdout, stderr } = child;
  try {
    // It could not even be started, for lack of descriptors for example.
    if (stdin == null || stdout == null || stderr == null) {
      await exited;
      throw new Error('a child without pipes');
    }
    stdin.on('error', () => {}).end(input);
    const [out, err] = await Promise.all([text(stdout), text(stderr)]);
    const [code, signal] = await exited;
    return { code, signal, stdout: out, stderr: err };
  } catch (error) {
    return { code: null, signal: null, stdout: '', stderr: (error as Error).message };
  } finally {
    process.off('exit', kill);
  }
}

function parsed(text: string): Verdict | undefined {
  try {
    return JSON.parse(text) as Verdict;
  } catch {
    return undefined;
  }
}

/** What a failed program has said, in one line. */
function wordsOf({ code, signal, stderr }: Answer): string {
  const end = signal === 'SIGKILL' ? 'not done in time' : (signal ?? (code === null ? '' : `exit code ${code}`));
  const said = stderr.trim().replace(/\s+/g, ' ').slice(0, wordsShown);
  return [said, end].filter((part) => part !== '').join(', ');
}
