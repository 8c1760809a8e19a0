// SPDX-License-Identifier: MIT
// The master's end of the control socket. Only root and the master's own user are listened to: the rights of the file say so, and the
// kernel's word on who has connected (SO_PEERCRED) says it again.
import { createServer, type Server, type Socket } from 'node:net';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { linesOf } from './lines.ts';
import { type AdminAnswer, type AdminRequest, adminVersion, encodeError } from './protocol.ts';

/** Gives the result; what it throws goes to who asked. `tell` sends a line of progress. */
export type AdminHandler = (request: AdminRequest, tell: (progress: object) => void) => Promise<object>;

const mostConnections = 16;
/** For the request to come. */
const requestLimitMs = 5_000;

/** Serves requests on a listening unix socket, which it takes. `handlers` by name of the command. */
export function serveAdmin(fd: number, handlers: Readonly<Record<string, AdminHandler>>): Server {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    // Who asked may have left: that is no failure of ours.
    socket.on('error', () => {});
    if (isAllowed(socket)) void answer(socket, handlers);
    else socket.destroy();
  });
  server.maxConnections = mostConnections;
  server.on('error', (error) => log('error', 'system_error', failure('the control socket does not listen', error)));
  server.listen({ fd });
  return server;
}

async function answer(socket: Socket, handlers: Readonly<Record<string, AdminHandler>>): Promise<void> {
  const send = (line: AdminAnswer): void => {
    if (socket.writable) socket.write(`${JSON.stringify(line)}\n`);
  };
  const limit = setTimeout(() => socket.destroy(), requestLimitMs);
  try {
    const first = await linesOf(socket).next();
    clearTimeout(limit);
    if (first.done) return void socket.destroy();
    const request = requestOf(first.value);
    const handler = Object.hasOwn(handlers, request.command) ? handlers[request.command] : undefined;
    if (handler === undefined) throw new Error(`the service has no command ${JSON.stringify(request.command)}`);
    const value = await handler(request, (progress) => send({ type: 'progress', progress }));
    send({ type: 'result', value });
  } catch (error) {
    send({ type: 'error', error: encodeError(error) });
  } finally {
    clearTimeout(limit);
    socket.end();
  }
}

function requestOf(line: string): AdminRequest {
  const request = JSON.parse(line) as Partial<AdminRequest> | null;
  if (request?.v !== adminVersion) {
    throw new Error(`the service speaks version ${adminVersion} of the control protocol, not ${request?.v}`);
  }
  return request as AdminRequest;
}

function isAllowed(socket: Socket): boolean {
  // Node does not tell the number of a socket's descriptor, but the handle has it.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd ?? -1;
  try {
    const { uid, pid } = native.peerCredentials({ fd });
    if (uid === 0 || uid === process.geteuid?.()) return true;
    const error_desc = `user ${uid}, process ${pid}`;
    log('warn', 'system_error', { error_msg: 'a request on the control socket was refused', error_desc });
  } catch (error) {
    log('warn', 'system_error', failure('who asks on the control socket is not known', error));
  }
  return false;
}
