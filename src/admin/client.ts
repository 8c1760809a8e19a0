// SPDX-License-Identifier: MIT
// The end of the control socket that a command has.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { SystemError } from '../errors.ts';
import { linesOf } from './lines.ts';
import { type AdminAnswer, adminVersion, decodeError } from './protocol.ts';

/** Without a word from the service. */
const usualSilenceMs = 60_000;

export interface Question {
  readonly command: string;
  readonly [argument: string]: unknown;
}

/**
 * Asks the service behind a socket; `onProgress` gets what it tells meanwhile, and it may be silent for `silenceMs`. Throws SystemError,
 * or what the service throws.
 */
export async function ask(
  path: string,
  question: Question,
  onProgress = (_: object): void => {},
  silenceMs = usualSilenceMs,
): Promise<object> {
  const socket = await open(path);
  const silent = new SystemError(`the service behind ${path} is silent`, { code: 'ETIMEDOUT', hint: 'see its log' });
  socket.setTimeout(silenceMs, () => socket.destroy(silent));
  try {
    socket.write(`${JSON.stringify({ v: adminVersion, ...question })}\n`);
    for await (const line of linesOf(socket)) {
      const answer = JSON.parse(line) as AdminAnswer;
      if (answer.type === 'progress') onProgress(answer.progress);
      else if (answer.type === 'result') return answer.value;
      else throw decodeError(answer.error);
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'EPIPE' && code !== 'ECONNRESET') throw cause;
  } finally {
    socket.destroy();
  }
  throw new SystemError(`the service behind ${path} gave no answer`, {
    code: 'EPIPE',
    hint: 'its log says more; it may have ended, or serve its own user and root only',
  });
}

async function open(path: string): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  try {
    await once(socket, 'connect');
    return socket;
  } catch (cause) {
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    const hint =
      code === 'EACCES'
        ? 'only root and the user that started the service may; use sudo'
        : 'is the service running, and is this its control socket?';
    throw new SystemError(`can't reach the service by ${path}: ${message}`, { code, hint, cause });
  }
}
