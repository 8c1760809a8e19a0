// SPDX-License-Identifier: MIT
// Events of the master's and the worker's JavaScript threads, by name and fields (requirements S2.34 to S2.41). Those of connections
// (`proxy`, `auth`) are written by native code. Lines go to the log that native.openLog has opened, from its own thread.
import type { Offload } from '../config/config.ts';
import type { EngineChoice } from '../config/offload.ts';
import { type LogLevel, native } from '../native.ts';
import type { Phase } from '../upgrade/report.ts';

interface Events {
  startup: {
    readonly argv: string;
    readonly version: string;
    readonly openssl: string;
    readonly node: string;
    readonly kernel: string;
  };
  config_loaded: {
    /** Path, or `flags`. */
    readonly file: string;
    readonly listeners: string;
    readonly nworkers: number;
    readonly certchain: string;
    readonly cacerts: string;
    readonly servcert: string;
    readonly servkey: string;
  };
  /** Which engine sessions of a listener get, by TLS version; one that it does not offer is left out. */
  offload: {
    readonly listener: string;
    readonly mode: Offload;
    /** Bytes of payload before the kernel takes a direction. */
    readonly after: number;
    readonly kernel: string;
    readonly tls12?: EngineChoice['engine'] | undefined;
    readonly tls13?: EngineChoice['engine'] | undefined;
    /** Why it is not the kernel alone. */
    readonly reason?: string | undefined;
  };
  /** Nothing that stops the start, but somebody should know. */
  config_warning: { readonly listener: string; readonly error_msg: string; readonly error_desc: string };
  cert_loaded: {
    readonly cert_role: string;
    readonly fingerprint: string;
    readonly notbefore: string;
    readonly notafter: string;
    readonly subject: string;
    readonly issuer: string;
    readonly file: string | undefined;
  };
  worker: {
    readonly worker_state: 'spawned' | 'adopted' | 'dead';
    readonly worker_id: number;
    readonly worker_pid: number;
    readonly reason?: string | undefined;
    /** Exit code, where it exited by itself. */
    readonly code?: number | undefined;
    /** Of one that is dead: those that it owned. */
    readonly sessions_lost?: number | undefined;
    readonly delay_ms?: number | undefined;
  };
  signal_received: { readonly signal_num: number; readonly signal_string: string; readonly recvd_from: number };
  system_error: { readonly error_msg: string; readonly error_desc: string };
  /** Clients are served. */
  ready: { readonly addresses: string };
  /** Nothing is accepted any more; sessions may go on until the limit. */
  draining: { readonly limit_ms: number };
  /** The end of an orderly stop. */
  stopped: {
    readonly sessions_total: number;
    readonly sessions_cut: number;
    /** Of all workers; left out where there were none. Directions of sessions that the kernel did not take. */
    readonly offloads_refused?: number | undefined;
    /** Sessions that ended because the kernel can't renew keys. */
    readonly rekeys_impossible?: number | undefined;
  };
  /** One fault or warning of a configuration that a reload has read. */
  config_fault: { readonly place: string; readonly error_msg: string; readonly help: string | undefined };
  /** The end of a reload. Lists have commas; what has not changed is left out. */
  reload: {
    readonly trigger: 'signal' | 'command' | 'certificates';
    readonly outcome: 'changed' | 'unchanged' | 'refused';
    readonly added?: string | undefined;
    readonly removed?: string | undefined;
    readonly changed?: string | undefined;
    readonly settings?: string | undefined;
    /** Keys that hold from the next start on. */
    readonly later?: string | undefined;
    readonly certificates?: string | undefined;
    readonly duration_ms?: number;
    readonly error_msg?: string;
    readonly help?: string | undefined;
  };
  /** A phase of an upgrade has passed, or the upgrade has ended. */
  upgrade: {
    readonly phase?: Phase;
    /** Tests. */
    readonly paused?: boolean;
    readonly duration_ms?: number;
    readonly outcome?: 'committed' | 'failed' | 'refused';
    readonly from?: string;
    readonly to?: string;
    readonly path?: string;
    readonly generation?: number;
    readonly sessions_moved?: number;
    readonly sessions_kept?: number;
    readonly sessions_lost?: number;
    /** Why sessions were kept. */
    readonly kept_reason?: string | undefined;
    /** Of those that have moved: by whom they are carried, in both directions or in one. */
    readonly moved_kernel?: number;
    readonly moved_userspace?: number;
    readonly moved_kernel_tx?: number;
    readonly moved_kernel_rx?: number;
    /** Connections whose handshake was under way: ended it in the old worker, have moved since, are still at it. */
    readonly handshakes_finished?: number;
    readonly handshakes_moved?: number;
    readonly handshakes_open?: number;
    /** How long sessions stood still. */
    readonly pause_longest_us?: number;
    readonly pause_p99_us?: number;
    readonly error_msg?: string;
  };
  /** Another master serves; this one's sessions go on until they end. */
  leaving: { readonly generation: number };
  left: { readonly sessions_total: number; readonly sessions_cut: number };
  /** Certificate files have changed, and can't be used as they are: the old ones stay. Told once for each state of the files. */
  cert_waiting: { readonly file: string; readonly error_msg: string };
  log_reopened: { readonly file: string };
  ticket_keys_rotated: Record<string, never>;
  /** Addresses that a backend's name stands for have changed. */
  backend_resolved: { readonly listener: string; readonly backend: string; readonly addresses: string };
}

/** Writes one line, if the level is enabled. Before native.openLog nothing is written. */
export function log<Event extends keyof Events>(level: LogLevel, event: Event, fields: Events[Event]): void {
  native.log({ level, event, fields });
}

/** The two fields that tell a failure. */
export function failure(what: string, error: unknown): Events['system_error'] {
  return { error_msg: what, error_desc: error instanceof Error ? error.message : String(error) };
}

/** RFC 3339, for seconds since the epoch. */
export function dateTime(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}
