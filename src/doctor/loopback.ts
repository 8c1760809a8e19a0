// SPDX-License-Identifier: MIT
// Whether connections over the loopback work: without them the kernel can't be tried. Sandboxes differ.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

const patienceMs = 2_000;

/** Connects to a port of its own on 127.0.0.1. Resolves to `ok`, or to the name of the errno; never rejects. */
export async function tryLoopback(): Promise<string> {
  const signal = AbortSignal.timeout(patienceMs);
  const server = createServer((socket) => socket.destroy());
  let socket: Socket | undefined;
  try {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening', { signal });
    socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect', { signal });
    return 'ok';
  } catch (error) {
    return signal.aborted ? 'ETIMEDOUT' : ((error as NodeJS.ErrnoException).code ?? 'unknown error');
  } finally {
    // A connection without an answer would keep the process for minutes.
    socket?.destroy();
    server.close();
  }
}
