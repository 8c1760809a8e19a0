// SPDX-License-Identifier: MIT
// A WebSocket server that sends every short message back (RFC 6455), for clients that are real.
import { createHash } from 'node:crypto';
import * as http from 'node:http';
import type { Socket } from 'node:net';

const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Listens nowhere yet. Messages of up to 125 bytes, in one frame each. */
export function webSocketEcho(): http.Server {
  return http.createServer().on('upgrade', (request, socket: Socket) => {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${guid}`).digest('base64');
    const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
    socket.write(`${[...lines, `Sec-WebSocket-Accept: ${accept}`].join('\r\n')}\r\n\r\n`);
    let came = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      came = Buffer.concat([came, chunk]);
      for (let length = frameLength(came); length <= came.length; length = frameLength(came)) {
        socket.write(answer(came.subarray(0, length)));
        // 8: close
        if (((came[0] ?? 0) & 15) === 8) socket.end();
        came = came.subarray(length);
      }
    });
  });
}

/** Two bytes of header and four of mask stand before the content. */
function frameLength(bytes: Buffer): number {
  return bytes.length < 2 ? Number.POSITIVE_INFINITY : 6 + ((bytes[1] ?? 0) & 127);
}

function answer(frame: Buffer): Buffer {
  const content = frame.subarray(6).map((byte, i) => byte ^ (frame[2 + (i % 4)] ?? 0));
  return Buffer.concat([Buffer.from([frame[0] ?? 0, content.length]), content]);
}
