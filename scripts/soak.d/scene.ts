// SPDX-License-Identifier: MIT
// Where a visit takes place, and how it judges what comes back.
import type { TlsVersion } from '../../test/helpers/tls-records.ts';

/** What nothing may excuse, as the death of a worker excuses a reset. */
export class WrongError extends Error {}

export interface Scene {
  /** Ports of the proxy: to the service, to the one that wants a PROXY header, to one where nobody listens. */
  readonly ports: { readonly plain: number; readonly proxied: number; readonly dead: number };
  readonly random: () => number;
  /** Tickets by version, newest last. */
  readonly tickets: Readonly<Record<TlsVersion, Buffer[]>>;
  /** The first byte of an answer has come: the session is known at both ends. */
  readonly answered: () => void;
  readonly wait: (ms: number) => Promise<void>;
}
export type Visit = (scene: Scene) => Promise<void>;

/** A whole number from 0 on. */
export function below(scene: Scene, most: number): number {
  return Math.floor(scene.random() * most);
}
export function versionOf(scene: Scene): TlsVersion {
  return scene.random() < 0.5 ? '1.2' : '1.3';
}
export function pick<T>(scene: Scene, from: readonly T[]): T {
  return from[below(scene, from.length)] as T;
}
export function expect(right: boolean, what: string): void {
  if (!right) throw new WrongError(what);
}
/** In order; the death of a worker excuses any other. */
export function expectEnd(end: string): void {
  if (end !== 'fin') throw new Error(`the connection ended with ${end}`);
}
