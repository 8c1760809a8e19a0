// SPDX-License-Identifier: MIT
// node:tls as an ordinary client of the proxy.
import { once } from 'node:events';
import * as net from 'node:net';
import * as tls from 'node:tls';
import { connectedSince, Peer, type Taking } from './peer.ts';

export interface TlsOptions extends tls.ConnectionOptions {
  readonly sigalgs?: string;
  readonly taking?: Taking;
}

export interface TlsClient {
  readonly socket: tls.TLSSocket;
  readonly peer: Peer;
  /** Port of this end, by which the log names the connection. */
  readonly port: number;
}

/** Connects, by default to 127.0.0.1 and without a look at the certificate; rejects when the handshake fails. */
export async function tlsConnect(options: TlsOptions): Promise<TlsClient> {
  const { taking = 'keep', ...rest } = options;
  const common = { servername: 'localhost', rejectUnauthorized: false, allowHalfOpen: true };
  const where: tls.ConnectionOptions = {
    ...common,
    ...(rest.path === undefined ? { host: '127.0.0.1' } : {}),
    ...rest,
  };
  const started = Date.now();
  const socket = tls.connect(where);
  socket.setNoDelay(true);
  // A FIN before the handshake is done is no error to a half-open socket.
  const ended = new Promise<never>((_, reject) => {
    socket.once('end', () => reject(new Error('FIN in the handshake')));
  });
  await Promise.race([once(socket, 'secureConnect'), ended]);
  const port = socket.localPort ?? 0;
  connectedSince.set(port, started);
  return { socket, peer: new Peer(socket, { taking }), port };
}

/** Options of tls.connect for exactly one version. */
export function only(version: '1.2' | '1.3'): tls.ConnectionOptions {
  return { minVersion: `TLSv${version}`, maxVersion: `TLSv${version}` };
}

/** The number of the alert that ended a handshake, or the code of another error. */
export async function handshakeFailure(options: TlsOptions): Promise<number | string> {
  try {
    const { socket, peer } = await tlsConnect(options);
    // In TLS 1.3 a client is done before the server has judged its last flight.
    await peer.end;
    socket.destroy();
    return 'none';
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException;
    const alert = /SSL alert number (\d+)/.exec(message);
    return alert === null ? code : Number(alert[1]);
  }
}

/** Sends bytes on a fresh TCP connection and reads to its end. */
export async function exchangeRaw(port: number, bytes: Buffer): Promise<{ data: Buffer; end: string }> {
  const peer = new Peer(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }));
  peer.write(bytes);
  const { data, end } = await peer.outcome();
  peer.socket.destroy();
  return { data: Buffer.from(data, 'latin1'), end };
}
