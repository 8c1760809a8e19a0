// SPDX-License-Identifier: MIT
// The service behind the proxy: a visit says first which it is, and goes on with this end of its own.
import { once } from 'node:events';
import * as net from 'node:net';
import { Peer } from '../helpers/peer.ts';
import type { Visit } from './visit.ts';

export class Backend {
  /** That may come, by number. */
  readonly visits = new Map<number, Visit>();
  /** Of the listener whose connections begin with a PROXY header. */
  portWithHeader = 0;
  readonly #server: net.Server;
  /** Connections that have not said yet whose they are. */
  readonly #strangers = new Set<Peer>();
  #strayEnds: string[] = [];

  private constructor(server: net.Server) {
    this.#server = server;
    server.on('connection', (socket: net.Socket) => this.#accept(new Peer(socket, { taking: 'count' })));
  }

  static async listen(): Promise<Backend> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
    await once(server, 'listening');
    return new Backend(server);
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  /** Connections since last time that no visit can have been behind. */
  takeStrayEnds(): string[] {
    return this.#strayEnds.splice(0);
  }

  close(): void {
    for (const stranger of this.#strangers) stranger.socket.destroy();
    this.#server.close();
  }

  /** Reads up to the number of the visit, with the PROXY header before it if there is one. */
  #accept(peer: Peer): void {
    this.#strangers.add(peer);
    let came = Buffer.alloc(0);
    const take = (bytes: Buffer): void => {
      came = Buffer.concat([came, bytes]);
      const header = came.subarray(0, 5).toString('latin1') === 'PROXY' ? came.indexOf('\r\n') + 2 : 0;
      if (header === 1 || came.length < header + 4) return;
      const visit = this.visits.get(came.readUInt32BE(header));
      this.#strangers.delete(peer);
      peer.socket.off('data', take);
      if (visit === undefined) {
        peer.socket.resetAndDestroy();
        this.#strayEnds.push(`a connection to the backend with other first bytes: ${came.subarray(0, 60)}`);
        return;
      }
      const expected = `PROXY TCP4 127.0.0.1 127.0.0.1 ${visit.client?.port} ${this.portWithHeader}\r\n`;
      if (header > 0 && came.subarray(0, header).toString('latin1') !== expected) visit.faults.push('a wrong header');
      visit.arrived(peer, came.subarray(header + 4));
    };
    peer.socket.on('data', take);
    void peer.end.then((ending) => {
      if (!this.#strangers.delete(peer)) return;
      peer.socket.destroy();
      if (ending === 'fin') this.#strayEnds.push('FIN to the backend where the client has sent nothing');
    });
  }
}
