// SPDX-License-Identifier: MIT
// The whole contract between TypeScript and the addon. Calls take one plain object; failures of system calls throw an Error with
// code (errno name), negative errno and syscall, like Node's own. Descriptors cross as numbers: those handed in are borrowed unless
// the comment says "takes"; those that come out are owned by the caller, who gives them to closeFd or to something that takes them.
import { createRequire } from 'node:module';

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug';
export type LogValue = string | number | bigint | boolean;

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary. */
  readonly groups: readonly number[];
}

export interface CertificateInfo {
  readonly role: 'leaf' | 'intermediate' | 'root';
  /** SHA-256, lower-case hex. */
  readonly fingerprint: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  /** Seconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly names: readonly string[];
  readonly keyType: string;
}

export interface CertificateReport {
  readonly chain: readonly CertificateInfo[];
  readonly keyMatches: boolean;
  readonly keyType: string;
}

export interface ListenerPlan {
  readonly id: number;
  readonly name: string;
  readonly fd: number;
  readonly certificates: readonly { readonly chainFd: number; readonly keyFd: number }[];
  readonly minVersion: '1.2' | '1.3';
  readonly maxVersion: '1.2' | '1.3';
  /** IANA names; empty: the default list. */
  readonly ciphers: readonly string[];
  readonly alpn: readonly string[];
  readonly backend: string;
  /** Numeric addresses or `unix:` paths. */
  readonly backendAddresses: readonly string[];
  readonly proxyProtocol: 'none' | 'v1' | 'v2';
  /** Milliseconds; 0 is never, but for handshake and connect, which need one. */
  readonly handshakeMs: number;
  readonly connectMs: number;
  readonly idleMs: number;
  readonly halfClosedMs: number;
  readonly onTruncation: 'fin' | 'reset';
  /** Who carries the records: the kernel where it can do all that a session may ask for, always the kernel, or never. */
  readonly offload: 'auto' | 'kernel' | 'userspace';
  /** Bytes of payload that a direction of a session carries before the kernel takes it. */
  readonly offloadAfter: number;
}

export interface Plan {
  readonly listeners: readonly ListenerPlan[];
  readonly maxConnections: number;
  /** That another worker is about to hand over: room is kept for them. */
  readonly expectedConnections?: number | undefined;
  /** memfd of createTicketKeys; -1: no tickets. */
  readonly ticketKeysFd: number;
}

export type EngineEvent =
  | { readonly type: 'drained' }
  | { readonly type: 'inventory' }
  | { readonly type: 'backend-failed'; readonly listener: string };

/** Names of the numbers that Engine.snapshot writes, in their order (enum Counter of native/engine.h). */
export const counterNames = [
  'connections_accepted',
  'connections_open',
  'connections_open_max',
  'connections_refused',
  'handshakes_open',
  'handshakes_completed',
  'handshakes_resumed',
  'handshakes_failed',
  'handshakes_timed_out',
  'sessions_open',
  'sessions_total',
  'backend_connect_failed',
  'bytes_from_client',
  'bytes_to_client',
  'key_updates_received',
  'key_updates_sent',
  'truncations',
  'sessions_kernel_tx',
  'sessions_kernel_rx',
  'sessions_kernel',
  'offloads_tx',
  'offloads_rx',
  'offloads_refused',
  'rekeys_impossible',
  'sessions_given',
  'sessions_given_kernel',
  'sessions_given_kernel_tx',
  'sessions_given_kernel_rx',
  'sessions_taken',
  'sessions_taken_kernel',
  'sessions_taken_kernel_tx',
  'sessions_taken_kernel_rx',
  'sessions_late',
  'sessions_late_given',
  'sessions_staying',
  'handoffs_open',
  'accept_pauses',
  'log_lines_dropped',
  'session_slots',
  'buffer_blocks',
] as const;

/** What the running kernel can carry, found out by trying (native/record/kernel_probe.h). `ok` or the name of an errno. */
export interface KernelReport {
  /** Attaching the ULP "tls" to a socket. ENOENT: no TLS in this kernel, or its module is not loaded and may not be by us. */
  readonly ulp: string;
  /** One entry for each version and cipher; ENOENT: the kernel has not got the algorithm. */
  readonly keys: readonly {
    readonly version: '1.2' | '1.3';
    readonly cipher: 'AES-128-GCM' | 'AES-256-GCM' | 'AES-128-CCM' | 'CHACHA20-POLY1305';
    readonly tx: string;
    readonly rx: string;
  }[];
  /** TLS 1.3 keys can be replaced. */
  readonly rekey: boolean;
  /** poll says POLLIN for a part of a record. */
  readonly partialPoll: boolean;
  /** A splice into a pipe that is too full for the record loses nothing. */
  readonly spliceWhole: boolean;
  /** TLS_TX_MAX_PAYLOAD_LEN. */
  readonly maxPayload: boolean;
}

/** What one network device could do with TLS records by itself (features tls-hw-tx-offload and tls-hw-rx-offload). */
export interface DeviceOffload {
  readonly device: string;
  /** Name of the errno with which the device could not be asked; `` if it could. */
  readonly error: string;
  /** `off`: could be switched on. */
  readonly tx: 'on' | 'off' | 'unavailable';
  readonly rx: 'on' | 'off' | 'unavailable';
}

/** Sessions that a version could take, by who carries them, and those that it could not. */
export interface Examined {
  readonly kernel: number;
  readonly userspace: number;
  readonly kernel_tx: number;
  readonly kernel_rx: number;
  readonly refused: number;
  /** Twenty at most: connection ids as in the log. */
  readonly firstRefused: readonly { readonly id: string; readonly reason: string }[];
}

/** Microseconds that sessions stood still which a worker took: the longest, and how long 99 of 100 were at most. */
export interface Pauses {
  readonly longestUs: number;
  readonly p99Us: number;
}

export interface Engine {
  /** All or nothing: throws ERR_NATIVE_PLAN with a sentence when the plan can't be taken. */
  configure(plan: Plan): void;
  /** Throws as configure would, and changes nothing. */
  check(plan: Plan): void;
  setBackend(options: { readonly listener: number; readonly addresses: readonly string[] }): boolean;
  stopAccepting(): void;
  endSessions(): void;
  relayThreads(): number;
  /**
   * Sessions, also those that come later, go to another worker: one end of a SOCK_SEQPACKET pair for each relay thread. Takes the fds.
   * Done when `sessions_open` is 0; `sessions_given` counts them. `most`: sessions in a batch, for tests; with 0 none go.
   */
  giveSessions(options: { readonly fds: readonly number[]; readonly most?: number | undefined }): void;
  /** Relay threads that still give, because the other worker is there and answers. With 0 what is here stays. */
  givingThreads(): number;
  /**
   * The other ends. Takes `fds`. `answers`: for tests; after so many batches of a thread the next one is left where it is until the donor
   * has closed its end, and the log says `paused`.
   */
  takeSessions(options: { readonly fds: readonly number[]; readonly answers?: number | undefined }): void;
  /** Has all sessions written down, in small slices; the event `inventory` follows. False: one is under way. */
  takeInventory(): boolean;
  /** A memfd for each relay thread, with keys in it: to be given to wipeInventory before it is closed. */
  inventoryFds(): readonly number[];
  /** Why sessions were not given, in words; empty where none was refused. */
  handoffRefusal(): string;
  handoffPauses(): Pauses;
  snapshot(out: BigUint64Array): void;
  close(): void;
}

/** One end of an AF_UNIX SOCK_SEQPACKET pair: whole messages with descriptors, order kept, nothing lost while an end is held. */
export interface Channel {
  /**
   * Queues when the socket is full or the machine short of something (ENOBUFS over 4,096 messages); what waits at the end of the process
   * gets 100 ms more. At most 64 KiB (EMSGSIZE); longer texts travel as a memfd. Descriptors (at most 250) are borrowed: they are
   * duplicated before send returns (EMFILE). A message for a peer that is gone is dropped.
   */
  send(options: { readonly message: string; readonly fds?: readonly number[] }): void;
  /** Stops reading and closes. onClose is not called. */
  close(): void;
}

export interface Native {
  /** Version of OpenSSL as linked at run time. */
  opensslVersion(): string;

  // --- log: one per process
  /** Starts the log thread; takes the fd. */
  openLog(options: { readonly fd: number; readonly level: LogLevel; readonly processType: 'master' | 'worker' }): void;
  log(options: {
    readonly level: LogLevel;
    readonly event: string;
    readonly fields: Readonly<Record<string, LogValue | undefined>>;
  }): void;
  /** Takes the fd. */
  reopenLog(options: { readonly fd: number }): void;
  setLogLevel(options: { readonly level: LogLevel }): void;
  logCounts(): { readonly written: number; readonly dropped: number };

  // --- processes
  /**
   * PR_SET_DUMPABLE 0, PR_SET_NO_NEW_PRIVS 1, RLIMIT_CORE 0, RLIMIT_NOFILE soft = hard; HUP, INT, TERM, USR1 and USR2 are ignored,
   * because the keeper sends them as messages. Returns the file limit. First call of a process.
   */
  hardenProcess(): { readonly fileLimit: number };
  socketPair(): { readonly a: number; readonly b: number };
  /**
   * Takes the fd. `fds` in onMessage are owned by the receiver. onLost: a message came for whose descriptors there was no room in this
   * process (its file limit); none of them is here, and without onLost it is as if it had not come. onClose: the peer is gone (EOF or
   * error).
   */
  openChannel(options: {
    readonly fd: number;
    readonly onMessage: (message: string, fds: number[]) => void;
    readonly onLost?: (message: string) => void;
    readonly onClose: () => void;
  }): Channel;
  pidfdOpen(options: { readonly pid: number }): number;
  pidfdSignal(options: { readonly pidfd: number; readonly signal: number }): void;
  /** Takes a duplicate of the pidfd; calls back once when the process has ended. Returns a function that stops watching. */
  watchExit(options: { readonly pidfd: number; readonly onExit: () => void }): () => void;
  /** Resolves names or numbers of a user and a group (default: the user's own) to ids. Asks NSS and may block: at start only. */
  lookUpIdentity(options: { readonly user: string; readonly group?: string }): Identity;
  /** setgroups, setgid, setuid of every thread. Names are resolved by the caller. Nothing happens when we are that identity already. */
  dropPrivileges(options: Identity): void;

  // --- descriptors and files
  closeFd(options: { readonly fd: number }): void;
  /** Clears close-on-exec. For sockets that systemd passed, which Node has marked. */
  keepFdOverExec(options: { readonly fd: number }): void;
  duplicateFd(options: { readonly fd: number }): number;
  /** Non-blocking, CLOEXEC, listening. TCP: SO_REUSEADDR; `[::]` is dual stack unless v6Only. unix: a stale socket file is replaced, a live one is EADDRINUSE. */
  listen(options: {
    readonly address: string;
    readonly backlog: number;
    readonly v6Only: boolean;
    readonly mode?: number;
  }): number;
  /** Numeric address a socket is bound to, `1.2.3.4:80` form. */
  localAddress(options: { readonly fd: number }): string;
  /** Who has connected to a unix socket (SO_PEERCRED). */
  peerCredentials(options: { readonly fd: number }): {
    readonly pid: number;
    readonly uid: number;
    readonly gid: number;
  };
  /** Copies a file into a sealed memfd. */
  loadFile(options: { readonly path: string }): number;
  /**
   * memfd with the given text, and back. For configuration and state, never for secrets. Either way EFBIG over 16 MiB and ENOMEM; for a
   * new one also EMFILE, ENFILE and ENOSPC.
   */
  textToMemfd(options: { readonly name: string; readonly text: string }): number;
  memfdToText(options: { readonly fd: number }): string;

  // --- certificates and tickets
  /** keyFd -1: none. Throws ERR_CERTIFICATE_* with a sentence when it can't be read. */
  inspectCertificate(options: { readonly chainFd: number; readonly keyFd: number }): CertificateReport;
  generateCertificate(options: { readonly names: readonly string[]; readonly days: number }): {
    readonly chainFd: number;
    readonly keyFd: number;
  };
  createTicketKeys(): number;
  rotateTicketKeys(options: { readonly fd: number }): void;

  // --- kernel TLS
  /** Takes some milliseconds; makes connections over the loopback. */
  probeKernel(): KernelReport;
  /** Every network device of this namespace, without any privilege (SIOCETHTOOL). */
  deviceOffloads(): readonly DeviceOffload[];

  // --- the engine of a worker
  /** Of the frames and messages that sessions travel in; neighbours understand each other. */
  handoffVersion(): number;
  /** A memfd for what the engine of a worker counts, with so many threads; `names` are `counterNames`. */
  makeCounters(options: { readonly names: readonly string[]; readonly threads: number }): number;
  /** What such a page says now; its names are those of the version that has made it. */
  readCounters(options: { readonly fd: number }): {
    readonly counters: Readonly<Record<string, number>>;
    readonly pauses: Pauses;
  };
  /** Whether this version can read the sessions of an inventory. Nothing of them comes out but these numbers and ids. */
  examineInventory(options: { readonly fd: number }): Examined;
  wipeInventory(options: { readonly fd: number }): void;
  createEngine(options: {
    /** Of the worker in its service, below 2^24: connection ids begin with it. */
    readonly worker: number;
    /** Page to count in; -1: none. */
    readonly countersFd: number;
    readonly handshakeThreads: number;
    readonly relayThreads: number;
    /** 0: the AEAD limit. */
    readonly keyUpdateRecords: number;
    /** Tests leave out one, as on a kernel that refuses its keys. */
    readonly kernelDirections: 'both' | 'tx' | 'rx';
    readonly onEvents: (events: readonly EngineEvent[]) => void;
  }): Engine;
}

const load = createRequire(import.meta.url);

/** The addon. Loading it under a Node whose OpenSSL is too old is refused by src/runtime.ts before this is imported. */
export const native: Native = load('../build/Release/ironsocket.node') as Native;
