// SPDX-License-Identifier: MIT
// The channel between master and worker: versioned JSON messages of any length with any number of descriptors, over packets that
// are limited in both. A long text travels as a memfd; many descriptors go ahead in packets of their own.
import { controlVersion } from '../control-version.ts';
import { type Channel, native } from '../native.ts';

/** Below the channel's own limit of 64 KiB. */
const longestText = 32 * 1024;
/** Below the kernel's limit of 253 a packet (unix(7), SCM_MAX_FD), with room for the memfd. */
const mostDescriptors = 200;

export interface Link<Outgoing> {
  /** Descriptors are borrowed. What is for a peer that is gone is dropped. Throws when the kernel or the peer can't take more (ENOBUFS, ETOOMANYREFS, EMFILE). */
  send(message: Outgoing, fds?: readonly number[]): void;
  /** onClose is not called. */
  close(): void;
}

export interface LinkOptions<Incoming> {
  /** Taken. */
  readonly fd: number;
  /** The descriptors are the receiver's to close. */
  readonly onMessage: (message: Incoming, fds: readonly number[]) => void;
  /** The peer is gone. */
  readonly onClose: () => void;
  /** The peer speaks another version, as `error` says. */
  readonly onMismatch: (error: string) => void;
}

interface Packet {
  readonly v: number;
  /** `fds`: only descriptors, for the message that follows. `memfd`: the first descriptor holds the packet's text. */
  readonly type: string;
}

export function openLink<Outgoing extends { readonly type: string }, Incoming extends { readonly type: string }>(
  options: LinkOptions<Incoming>,
): Link<Outgoing> {
  /** For the message that follows. */
  let early: number[] = [];
  const closeEarly = (): void => {
    for (const fd of early.splice(0)) native.closeFd({ fd });
  };
  const receive = (text: string, fds: readonly number[]): void => {
    const packet = JSON.parse(text) as Packet;
    if (packet.v !== controlVersion) {
      for (const fd of fds) native.closeFd({ fd });
      options.onMismatch(
        `control protocol version ${packet.v} is not ${controlVersion}: the two processes are of different releases`,
      );
    } else if (packet.type === 'fds') {
      early.push(...fds);
    } else if (packet.type === 'memfd') {
      const [fd = -1, ...rest] = fds;
      const inner = native.memfdToText({ fd });
      native.closeFd({ fd });
      receive(inner, rest);
    } else {
      const all = [...early, ...fds];
      early = [];
      options.onMessage(packet as unknown as Incoming, all);
    }
  };
  let open = true;
  const onClose = (): void => {
    open = false;
    closeEarly();
    options.onClose();
  };
  const channel = native.openChannel({ fd: options.fd, onMessage: receive, onClose });
  return {
    send: (message, fds = []) => {
      if (open) sendMessage(channel, message, fds);
    },
    close: () => {
      closeEarly();
      channel.close();
    },
  };
}

function sendMessage(channel: Channel, message: { readonly type: string }, fds: readonly number[]): void {
  const encode = (packet: { readonly type: string }) => JSON.stringify({ v: controlVersion, ...packet });
  let rest = fds;
  for (; rest.length > mostDescriptors; rest = rest.slice(mostDescriptors)) {
    channel.send({ message: encode({ type: 'fds' }), fds: rest.slice(0, mostDescriptors) });
  }
  const text = encode(message);
  if (Buffer.byteLength(text) <= longestText) {
    channel.send({ message: text, fds: rest });
    return;
  }
  const memfd = native.textToMemfd({ name: 'ironsocket-message', text });
  try {
    channel.send({ message: encode({ type: 'memfd' }), fds: [memfd, ...rest] });
  } finally {
    native.closeFd({ fd: memfd });
  }
}
