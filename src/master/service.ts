// SPDX-License-Identifier: MIT
// What a master works with, from its start to its end.
import type { Upgrader } from '../upgrade/upgrader.ts';
import type { Keeper } from './keeper.ts';
import type { Notices } from './notices.ts';
import type { Reloader } from './reloader.ts';
import type { Setup } from './setup.ts';
import type { StateStore } from './state.ts';
import type { Tally } from './tally.ts';
import type { Workers } from './workers.ts';

export interface Service {
  readonly keeper: Keeper;
  readonly state: StateStore;
  readonly tally: Tally;
  readonly workers: Workers;
  readonly reloader: Reloader;
  readonly notices: Notices;
  /** What is at work. */
  setup: Setup;
  logFd: number;
  /** -1 until a configuration has tickets. */
  ticketKeysFd: number;
  /** Path of the control socket, while there is one. */
  control: string | undefined;
  /** Why a reload has to wait; undefined: it need not. */
  reloadRefusal: () => string | undefined;
  readonly upgrader: Upgrader;
  /** Takes no more commands; settles when those under way have been answered. */
  closeControl: () => Promise<void>;
}
