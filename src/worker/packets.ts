// SPDX-License-Identifier: MIT
// What comes out of the channel between two processes, put together again. Neither side trusts the other to be sound: a worker reads
// what clients send, and the other master may be of another version. Whatever comes, it is a whole message or a sentence that says
// what is wrong with it, and no descriptor is left behind. A message that can't be read here is lost: that says nothing against the peer.
import type { z } from 'zod';
import { controlVersion } from '../control-version.ts';
import { type Native, native } from '../native.ts';
import { failure, log } from '../observe/log.ts';

/** Descriptors that wait for their message; a plan with thousands of certificates has fewer. */
const mostEarly = 32 * 1024;

export interface PacketOptions<Incoming> {
  /** The descriptors are the receiver's to close. */
  readonly onMessage: (message: Incoming, fds: readonly number[]) => void;
  /** The peer speaks another version, or nonsense, as `error` says. */
  readonly onMismatch: (error: string) => void;
  /** A message can't be read here, or there is no room for its descriptors. The log says so. */
  readonly onLost?: (() => void) | undefined;
  /** By type, what a message has to look like. Those of other types are passed on as they are. */
  readonly shapes?: Readonly<Record<string, z.ZodType>> | undefined;
}

type Packet = Readonly<Record<string, unknown>>;

export class Packets<Incoming extends { readonly type: string }> {
  readonly #options: PacketOptions<Incoming>;
  readonly #system: Pick<Native, 'closeFd' | 'memfdToText'>;
  /** For the message that follows. */
  #early: number[] = [];
  /** Descriptors that went ahead did not get here, so that the message they are for can't be used. */
  #losing = false;

  /** `system`: for tests without descriptors. */
  constructor(options: PacketOptions<Incoming>, system: Pick<Native, 'closeFd' | 'memfdToText'> = native) {
    this.#options = options;
    this.#system = system;
  }

  /** Takes the descriptors. */
  receive(text: string, fds: readonly number[]): void {
    const packet = packetOf(text);
    if (typeof packet === 'string') this.#refuse(packet, fds);
    else if (this.#isOfLost(packet)) this.#closeAll(fds);
    else if (packet.type === 'fds') this.#keep(fds);
    else if (packet.type === 'memfd') this.#unwrap(fds);
    else this.#pass(packet, fds);
  }

  /** A packet whose descriptors did not get here: its message is lost as a whole. */
  lost(text: string): void {
    const packet = packetOf(text);
    if (typeof packet === 'string') this.#refuse(packet, []);
    else if (!this.#isOfLost(packet)) {
      this.#losing = packet.type === 'fds';
      this.#lose(
        'too few files may be open here: raise the limit (LimitNOFILE= of systemd, ulimit -n) or lower max_connections',
      );
    }
  }

  /** Whether it is a piece of a message of which others are lost. */
  #isOfLost(packet: Packet): boolean {
    if (packet.fresh === true) {
      // What went ahead is not of this message: the rest of its own could not be sent.
      this.close();
      this.#losing = false;
    }
    const losing = this.#losing;
    this.#losing &&= packet.type === 'fds';
    return losing;
  }

  /** Who waits for it gives up in time; the peer's sessions must not end with it. */
  #lose(reason: unknown): void {
    this.close();
    log('error', 'system_error', failure("a message of another process can't be read", reason));
    this.#options.onLost?.();
  }

  /** Closes what waits. */
  close(): void {
    this.#closeAll(this.#early.splice(0));
  }

  #keep(fds: readonly number[]): void {
    if (this.#early.length + fds.length > mostEarly) this.#refuse('too many descriptors without a message', fds);
    else this.#early.push(...fds);
  }

  /** The first descriptor holds the text. */
  #unwrap([fd, ...rest]: readonly number[]): void {
    if (fd === undefined) {
      this.#refuse('a message without its memfd', rest);
      return;
    }
    let packet: Packet | string;
    try {
      packet = packetOf(this.#system.memfdToText({ fd }));
    } catch (error) {
      this.#closeAll(rest);
      this.#lose(error);
      return;
    } finally {
      this.#system.closeFd({ fd });
    }
    if (typeof packet === 'string') this.#refuse(packet, rest);
    else if (packet.type === 'memfd' || packet.type === 'fds') this.#refuse('a packet inside a message', rest);
    else this.#pass(packet, rest);
  }

  #pass(packet: Packet, fds: readonly number[]): void {
    const { shapes = {}, onMessage } = this.#options;
    const type = packet.type as string;
    const shape = Object.hasOwn(shapes, type) ? shapes[type] : undefined;
    if (shape !== undefined && !shape.safeParse(packet).success) {
      const name = JSON.stringify(type.slice(0, 40));
      this.#refuse(`a message ${name} that says something else than it should`, fds);
      return;
    }
    onMessage(packet as unknown as Incoming, [...this.#early.splice(0), ...fds]);
  }

  #refuse(error: string, fds: readonly number[]): void {
    this.#closeAll([...this.#early.splice(0), ...fds]);
    this.#options.onMismatch(error);
  }

  #closeAll(fds: readonly number[]): void {
    for (const fd of fds) this.#system.closeFd({ fd });
  }
}

/** The packet, or what is wrong with the text. */
function packetOf(text: string): Packet | string {
  let packet: unknown;
  try {
    packet = JSON.parse(text);
  } catch {
    return 'a message that is no JSON';
  }
  if (typeof packet !== 'object' || packet === null) return 'a message that is no object';
  const { v, type } = packet as Packet;
  if (v !== controlVersion) {
    const spoken = typeof v === 'number' ? v : 'none';
    return `control protocol version ${spoken} is not ${controlVersion}: the two processes are of different releases`;
  }
  return typeof type === 'string' ? (packet as Packet) : 'a message without a type';
}
