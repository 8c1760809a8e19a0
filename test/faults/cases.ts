// SPDX-License-Identifier: MIT
// What fails, and whom it may hurt. The errnos are those that the man pages allow for the call and Linux gives. That every call of
// a kind fails for a while is a case of its own where that is how it happens: a signal, a shortage.
import type { Engine } from '../helpers/engines.ts';
import { isKernel } from '../helpers/engines.ts';
import type { Fault, ProcessName } from './rule.ts';

/** Visits that may be hurt by each hit: none; one that is still in its handshake; any one. */
export type Victim = 'none' | 'handshake' | 'one';

export interface Case extends Fault {
  readonly victim: Victim;
  /** Calls in a row that fail; 1 if left out. */
  readonly most?: number;
  /** When it happens; in the traffic if left out. */
  readonly moment?: Moment;
}

/** In the usual traffic, in rounds in which nobody reads for a while, while sessions stand still over an upgrade or a reload. */
export type Moment = 'traffic' | 'slow' | 'upgrade' | 'reload';

type Place = Pick<Fault, 'call' | 'place' | 'detail' | 'process'>;

function each(where: Place, victim: Victim, ...hows: Fault['how'][]): Case[] {
  return hows.map((how) => ({ ...where, how, victim }));
}

/** Twenty in a row. */
function many(list: readonly Case[]): Case[] {
  return list.map((item) => ({ ...item, most: 20 }));
}

function at(moment: Moment, list: readonly Case[]): Case[] {
  return list.map((item) => ({ ...item, moment }));
}

const network = { place: 'network' } as const;
/** EPOLL_CTL_ADD */
const add = 1;
const solTls = 282;
/** Of <linux/tls.h>. */
const tlsTx = (solTls << 16) | 1;
const tlsRx = (solTls << 16) | 2;
/** IPPROTO_TCP with TCP_NODELAY and TCP_ULP. */
const tcpNodelay = (6 << 16) | 1;
const tcpUlp = (6 << 16) | 31;

/** Of operator new; what OpenSSL is refused ends the handshake. */
const byNew = 1;

const recv = { call: 'recv', ...network } as const;
const readv = { call: 'readv', ...network } as const;
const send = { call: 'send', ...network } as const;
const sendmsg = { call: 'sendmsg', ...network } as const;
/** Of a message that brings descriptors, or a record that is no data; and of one that is only bytes. */
const special = 1;
const plain = 2;
const recvmsg = { call: 'recvmsg', ...network } as const;
const splice = { call: 'splice' } as const;

const everywhere: readonly Case[] = [
  ...each(recv, 'none', 'EINTR', 'EAGAIN', 1),
  ...each(recv, 'handshake', 'ENOMEM', 'ENOBUFS'),
  ...each(recv, 'one', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH', 'EIO'),
  ...each(readv, 'none', 'EINTR', 'EAGAIN', 'ENOMEM', 'ENOBUFS', 1),
  ...each(readv, 'one', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH', 'EIO'),
  ...each(send, 'none', 'EINTR', 'EAGAIN', 1),
  ...each(send, 'handshake', 'ENOMEM', 'ENOBUFS'),
  ...each(send, 'one', 'EPIPE', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH'),
  ...each(sendmsg, 'none', 'EINTR', 'EAGAIN', 'ENOMEM', 'ENOBUFS'),
  ...each({ ...sendmsg, detail: plain }, 'none', 1),
  ...each(sendmsg, 'one', 'EPIPE', 'ECONNRESET', 'ETIMEDOUT'),
  ...many(each(recv, 'none', 'EINTR', 1)),
  ...many(each(readv, 'none', 'EINTR', 'ENOMEM', 1)),
  ...many(each(send, 'none', 'EINTR', 1)),
  ...many(each(sendmsg, 'none', 'EINTR', 'ENOBUFS')),
  ...many(each({ ...sendmsg, detail: plain }, 'none', 1)),
  ...each({ call: 'accept4' }, 'none', 'EINTR', 'EAGAIN', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ECONNABORTED'),
  ...each({ call: 'accept4' }, 'none', 'EPROTO', 'EPERM', 'ENETDOWN'),
  ...each({ call: 'socket' }, 'none', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'),
  ...each({ call: 'connect' }, 'none', 'EINTR', 'EADDRNOTAVAIL', 'EAGAIN', 'ENOBUFS'),
  ...each({ call: 'connect' }, 'one', 'ENETUNREACH', 'ECONNREFUSED', 'EACCES'),
  ...each({ call: 'epoll_ctl', detail: add }, 'handshake', 'ENOSPC', 'ENOMEM'),
  ...each({ call: 'epoll_wait' }, 'none', 'EINTR'),
  ...each({ call: 'setsockopt', detail: tcpNodelay }, 'none', 'ENOBUFS'),
  ...each({ call: 'malloc', detail: byNew }, 'none', 'ENOMEM'),
  ...many(each({ call: 'malloc', detail: byNew }, 'none', 'ENOMEM')),
  ...at('slow', each({ call: 'mmap' }, 'none', 'ENOMEM')),
  ...at('slow', many(each({ call: 'mmap' }, 'none', 'ENOMEM'))),
  ...at('slow', many(each(sendmsg, 'none', 'ENOBUFS'))),
  ...at('slow', many(each(send, 'none', 'EAGAIN'))),
  ...at('slow', many(each(readv, 'none', 'ENOMEM'))),
];

const receivingInTheKernel: readonly Case[] = [
  ...each(recvmsg, 'none', 'EINTR', 'EAGAIN', 'ENOMEM', 'ENOBUFS', 1),
  ...each(recvmsg, 'one', 'ECONNRESET', 'ETIMEDOUT', 'EIO', 'EBADMSG'),
  ...each({ call: 'setsockopt', detail: tlsRx }, 'none', 'ENOMEM'),
  ...each({ call: 'setsockopt', detail: tlsRx }, 'one', 'EINVAL', 'EBUSY'),
];

const sendingInTheKernel: readonly Case[] = [
  ...each({ ...sendmsg, detail: special }, 'one', 1),
  ...each({ call: 'setsockopt', detail: tlsTx }, 'none', 'ENOMEM'),
  ...each({ call: 'setsockopt', detail: tlsTx }, 'one', 'EINVAL', 'EBUSY'),
];

const inTheKernel: readonly Case[] = [
  ...each({ call: 'setsockopt', detail: tcpUlp }, 'none', 'ENOENT', 'ENOMEM', 'ENOPROTOOPT'),
  ...each(splice, 'none', 'EINTR', 'EAGAIN', 'ENOMEM', 1),
  ...each(splice, 'one', 'EINVAL', 'ECONNRESET', 'EPIPE', 'EBADMSG'),
  ...each({ call: 'pipe2' }, 'none', 'EMFILE', 'ENFILE', 'ENOMEM'),
];

const local = { place: 'local' } as const;
/** F_DUPFD_CLOEXEC and F_ADD_SEALS. */
const duplicate = 1030;
const seal = 1033;

/** What all processes do with each other. */
function talk(process: ProcessName): Case[] {
  return [
    ...each({ process, call: 'sendmsg', ...local }, 'none', 'EINTR', 'EAGAIN', 'ENOBUFS', 'ENOMEM'),
    ...each({ process, call: 'sendmsg', ...local, detail: special }, 'none', 'ETOOMANYREFS'),
    ...each({ process, call: 'recvmsg', ...local }, 'none', 'EINTR', 'EAGAIN'),
    ...each({ process, call: 'fcntl', detail: duplicate }, 'none', 'EMFILE'),
    ...each({ process, call: 'poll' }, 'none', 'EINTR', 'ENOMEM'),
  ];
}

/** Files in memory; not the worker's write(2), which only wakes its threads and can't fail. */
function files(process: ProcessName): Case[] {
  return [
    ...each({ process, call: 'memfd_create' }, 'none', 'EMFILE', 'ENOMEM'),
    ...each({ process, call: 'fcntl', detail: seal }, 'none', 'EBUSY'),
    ...each({ process, call: process === 'worker' ? 'pwrite' : 'write' }, 'none', 'EINTR'),
    // The keeper's other writes are lines of the log, which may be lost then.
    ...(process === 'keeper'
      ? []
      : each({ process, call: process === 'worker' ? 'pwrite' : 'write' }, 'none', 'ENOSPC', 1)),
    ...each({ process, call: 'pread' }, 'none', 'EINTR', 1),
  ];
}

const overAnUpgrade = (['worker', 'master', 'keeper'] as const).flatMap((process) => [
  ...talk(process),
  ...many(each({ process, call: 'sendmsg', ...local }, 'none', 'ENOBUFS')),
  ...files(process),
  ...each({ process, call: 'socketpair' }, 'none', 'EMFILE', 'ENOBUFS'),
]);

const ofNewProcesses: readonly Case[] = [
  ...(['worker', 'master'] as const).flatMap((process) => [
    // All pages of what processes share: one that were missing when it is used would be a SIGBUS.
    ...each({ process, call: 'fallocate' }, 'none', 'EINTR', 'ENOSPC'),
    ...each({ process, call: 'mmap' }, 'none', 'ENOMEM'),
    ...each({ process, call: 'eventfd' }, 'none', 'EMFILE'),
    ...each({ process, call: 'pthread_create' }, 'none', 'EAGAIN'),
  ]),
  ...each({ call: 'epoll_create1' }, 'none', 'EMFILE'),
  ...each({ call: 'epoll_ctl', detail: add }, 'handshake', 'ENOSPC'),
  ...each({ process: 'keeper', call: 'fork' }, 'none', 'EAGAIN', 'ENOMEM'),
];

const overAReload = (['worker', 'master'] as const)
  .flatMap(talk)
  .concat(files('master'), each({ call: 'mmap' }, 'none', 'ENOMEM'), each({ call: 'pread' }, 'none', 'EINTR', 1));

/** Those that a session with this engine can meet. */
export function casesFor(engine: Engine): readonly Case[] {
  return [
    ...everywhere,
    ...(engine.rx === 'kernel' ? receivingInTheKernel : []),
    ...(engine.tx === 'kernel' ? sendingInTheKernel : []),
    ...(isKernel(engine) ? inTheKernel : []),
    ...at('upgrade', [...overAnUpgrade, ...ofNewProcesses]),
    ...at('reload', overAReload),
  ];
}
