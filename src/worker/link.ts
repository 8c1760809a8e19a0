// SPDX-License-Identifier: MIT
// The channel between master and worker: versioned JSON messages of any length with any number of descriptors, over packets that
// are limited in both. A long text travels as a memfd; many descriptors go ahead in packets of their own.
import { controlVersion } from '../control-version.ts';
import { type Channel, native } from '../native.ts';
import { type PacketOptions, Packets } from './packets.ts';

/** Below the channel's own limit of 64 KiB. */
const longestText = 32 * 1024;
/** Below the kernel's limit of 253 a packet (unix(7), SCM_MAX_FD), with room for the memfd. */
const mostDescriptors = 200;
/** What says that the machine is short of something, not that the peer is gone. */
const shortages = ['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ENOSPC'];
const retryMs = 50;
/** Messages that wait for a shortage to pass. */
const mostWaiting = 1000;

export interface Link<Outgoing> {
  /**
   * Descriptors are borrowed. What is for a peer that is gone is dropped. A message without descriptors waits while the machine is short
   * of something; with them it throws then (ENOBUFS, ETOOMANYREFS, EMFILE), and nothing of it has come.
   */
  send(message: Outgoing, fds?: readonly number[]): void;
  /** onClose is not called. */
  close(): void;
}

export interface LinkOptions<Incoming> extends PacketOptions<Incoming> {
  /** Taken. */
  readonly fd: number;
  /** The peer is gone. */
  readonly onClose: () => void;
}

export function openLink<Outgoing extends { readonly type: string }, Incoming extends { readonly type: string }>(
  options: LinkOptions<Incoming>,
): Link<Outgoing> {
  const packets = new Packets<Incoming>(options);
  let open = true;
  const onClose = (): void => {
    open = false;
    packets.close();
    options.onClose();
  };
  const channel = native.openChannel({
    fd: options.fd,
    onMessage: (text, fds) => packets.receive(text, fds),
    onClose,
  });
  const sender = new Sender(channel, () => open);
  return {
    send: (message, fds = []) => sender.send(message, fds),
    close: () => {
      open = false;
      packets.close();
      channel.close();
    },
  };
}

/** Keeps the order of messages, also of those that have to wait. */
class Sender {
  readonly #channel: Channel;
  readonly #isOpen: () => boolean;
  readonly #waiting: { readonly type: string }[] = [];
  #retry: NodeJS.Timeout | undefined;
  /** Descriptors have gone ahead whose message has not followed yet; and it is that message which is being sent. */
  #ahead = false;
  #going = false;

  constructor(channel: Channel, isOpen: () => boolean) {
    this.#channel = channel;
    this.#isOpen = isOpen;
  }

  send(message: { readonly type: string }, fds: readonly number[]): void {
    if (!this.#isOpen()) return;
    try {
      this.#sendWaiting();
      this.#sendNow(message, fds);
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (fds.length > 0 || !shortages.includes(code) || this.#waiting.length >= mostWaiting) throw error;
      this.#waiting.push(message);
      this.#later();
    }
  }

  #sendWaiting(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      this.#sendNow(next, []);
      this.#waiting.shift();
    }
  }

  #later(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      if (!this.#isOpen()) return;
      try {
        this.#sendWaiting();
      } catch {
        this.#later();
      }
    }, retryMs);
  }

  #sendNow(message: { readonly type: string }, fds: readonly number[]): void {
    this.#going = false;
    let rest = fds;
    for (; rest.length > mostDescriptors; rest = rest.slice(mostDescriptors)) {
      this.#put({ type: 'fds' }, rest.slice(0, mostDescriptors));
    }
    if (Buffer.byteLength(encode(message)) <= longestText) {
      this.#put(message, rest);
      return;
    }
    const memfd = native.textToMemfd({ name: 'ironsocket-message', text: encode(message) });
    try {
      this.#put({ type: 'memfd' }, [memfd, ...rest]);
    } finally {
      native.closeFd({ fd: memfd });
    }
  }

  #put(packet: { readonly type: string }, fds: readonly number[]): void {
    // Where one of these failed, what had gone before it is at the peer.
    const fresh = this.#ahead && !this.#going;
    this.#channel.send({ message: encode({ ...packet, ...(fresh ? { fresh } : {}) }), fds });
    this.#ahead = this.#going = packet.type === 'fds';
  }
}

function encode(packet: { readonly type: string; readonly fresh?: boolean }): string {
  return JSON.stringify({ v: controlVersion, ...packet });
}
