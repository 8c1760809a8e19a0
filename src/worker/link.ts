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

export interface Link<Outgoing> {
  /**
   * Descriptors are borrowed. What is for a peer that is gone is dropped. Throws when too much waits already (ENOBUFS), when what has to
   * wait finds no descriptors for that (EMFILE), or as native.textToMemfd does for a long text: nothing of the message comes then.
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
    onLost: (text) => packets.lost(text),
    onClose,
  });
  const sender = new Sender(channel);
  return {
    send: (message, fds = []) => {
      if (open) sender.send(message, fds);
    },
    close: () => {
      open = false;
      packets.close();
      channel.close();
    },
  };
}

class Sender {
  readonly #channel: Channel;
  /** Descriptors have gone ahead whose message has not followed: the rest of it could not be sent. */
  #ahead = false;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  send(message: { readonly type: string }, fds: readonly number[]): void {
    let fresh = this.#ahead;
    const put = (packet: { readonly type: string }, some: readonly number[]): void => {
      this.#channel.send({ message: encode({ ...packet, ...(fresh ? { fresh } : {}) }), fds: some });
      fresh = false;
      this.#ahead = packet.type === 'fds';
    };
    let rest = fds;
    for (; rest.length > mostDescriptors; rest = rest.slice(mostDescriptors)) {
      put({ type: 'fds' }, rest.slice(0, mostDescriptors));
    }
    if (Buffer.byteLength(encode(message)) <= longestText) {
      put(message, rest);
      return;
    }
    const memfd = native.textToMemfd({ name: 'ironsocket-message', text: encode(message) });
    try {
      put({ type: 'memfd' }, [memfd, ...rest]);
    } finally {
      native.closeFd({ fd: memfd });
    }
  }
}

function encode(packet: { readonly type: string; readonly fresh?: boolean }): string {
  return JSON.stringify({ v: controlVersion, ...packet });
}
