// SPDX-License-Identifier: MIT
// Certificate files that change are picked up by themselves: by a rename, by writing into them, by moving a symbolic link. The pair in
// use stays until both files have been left alone for a moment and fit each other.
import { type FSWatcher, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { checkCertificate } from '../config/check-certificates.ts';
import type { CertificateFiles } from '../config/config.ts';
import { failure, log } from '../observe/log.ts';
import { certificateKey } from './certificates.ts';

/** Files that have not changed for so long are no longer written to. */
const settleMs = 300;
/** Where nobody tells of changes: network file systems, a moved directory. */
const pollMs = 10_000;

export interface CertificateWatchOptions {
  /** Asked for at every look. */
  readonly files: () => readonly CertificateFiles[];
  /** While it says so nothing is looked at; what changes meanwhile is seen afterwards. */
  readonly paused: () => boolean;
  /** Takes pairs that can be used. What it throws has been told; it is asked again later. */
  readonly renew: (pairs: readonly CertificateFiles[]) => Promise<unknown>;
}

export class CertificateWatch {
  readonly #options: CertificateWatchOptions;
  readonly #directories = new Map<string, { readonly watcher: FSWatcher; readonly stamp: string }>();
  /** State of each pair's files at the last look, when it was taken over, and when it was complained about. */
  readonly #seen = new Map<string, string>();
  readonly #taken = new Map<string, string>();
  readonly #told = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;
  #looking = false;
  #again = false;
  #closed = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#followDirectories();
    this.#schedule(settleMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { watcher } of this.#directories.values()) watcher.close();
    this.#directories.clear();
  }

  /** A look that is due earlier stays: a directory in which much goes on must not put it off for ever. */
  #schedule(delayMs: number): void {
    if (this.#closed) return;
    const dueMs = performance.now() + delayMs;
    if (this.#timer !== undefined && this.#dueMs <= dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => void this.#look(), delayMs);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    this.#timer = undefined;
    if (this.#options.paused()) {
      this.#schedule(settleMs);
      return;
    }
    this.#again = this.#looking;
    if (this.#looking) return;
    this.#looking = true;
    let settled = true;
    try {
      settled = await this.#takeChanged();
    } catch (error) {
      log('error', 'system_error', failure("can't look at the certificate files", error));
    }
    this.#looking = false;
    this.#schedule(settled && !this.#again ? pollMs : settleMs);
  }

  /** Whether all files have been left alone since the last look. */
  async #takeChanged(): Promise<boolean> {
    this.#followDirectories();
    const changed = this.#options.files().filter((files) => stampOf(files) !== this.#taken.get(certificateKey(files)));
    const unsettled = changed.filter((files) => this.#moves(files));
    const usable = changed.filter((files) => !unsettled.includes(files) && this.#isUsable(files));
    await this.#renew(usable);
    return unsettled.length === 0;
  }

  /** Whether the files have changed since the last look. */
  #moves(files: CertificateFiles): boolean {
    const key = certificateKey(files);
    const stamp = stampOf(files);
    const moves = this.#seen.get(key) !== stamp;
    this.#seen.set(key, stamp);
    return moves;
  }

  #isUsable(files: CertificateFiles): boolean {
    const { complaints } = checkCertificate(files, [], Date.now() / 1000);
    const fault = complaints.find(({ severity }) => severity !== 'warning');
    if (fault !== undefined) this.#complain(files, fault.message);
    return fault === undefined;
  }

  #complain(files: CertificateFiles, error_msg: string): void {
    const key = certificateKey(files);
    const about = `${stampOf(files)} ${error_msg}`;
    if (this.#told.get(key) === about) return;
    this.#told.set(key, about);
    log('warn', 'cert_waiting', { file: files.cert, error_msg });
  }

  async #renew(pairs: readonly CertificateFiles[]): Promise<void> {
    if (pairs.length === 0) return;
    // Before they are read: what changes meanwhile is seen at the next look.
    const stamps = pairs.map((files) => [certificateKey(files), stampOf(files)] as const);
    try {
      await this.#options.renew(pairs);
      for (const [key, stamp] of stamps) this.#taken.set(key, stamp);
    } catch {
      // The next look tries again.
    }
  }

  /** A rename is seen in the directory, not in the file. */
  #followDirectories(): void {
    const wanted = new Set(this.#options.files().flatMap(({ cert, key }) => [dirname(cert), dirname(key)]));
    for (const [directory, { watcher, stamp }] of this.#directories) {
      // Another one may have come in its place.
      if (wanted.has(directory) && identityOf(directory) === stamp) continue;
      watcher.close();
      this.#directories.delete(directory);
    }
    for (const directory of wanted) if (!this.#directories.has(directory)) this.#follow(directory);
  }

  #follow(directory: string): void {
    const drop = (error: unknown): void => {
      this.#directories.get(directory)?.watcher.close();
      this.#directories.delete(directory);
      log('debug', 'system_error', failure(`changes in ${directory} are noticed late`, error));
    };
    try {
      const stamp = identityOf(directory);
      const watcher = watch(directory, { persistent: false }, () => this.#schedule(settleMs));
      watcher.on('error', drop);
      this.#directories.set(directory, { watcher, stamp });
    } catch (error) {
      drop(error);
    }
  }
}

function identityOf(directory: string): string {
  const stat = statSync(directory, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.dev}:${stat.ino}`;
}

/** Differs when a file is another one, or has been written to, or is not there. */
function stampOf({ cert, key }: CertificateFiles): string {
  return [cert, key].map(fileStamp).join(' ');
}

function fileStamp(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
  }
}
