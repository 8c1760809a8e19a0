// SPDX-License-Identifier: MIT
// Session ticket keys: one memfd for all workers, held by the keeper, so that neither a new worker nor a new master costs a resumption.
import { native } from '../native.ts';
import { log } from '../observe/log.ts';
import type { Keeper } from './keeper.ts';
import type { StateStore } from './state.ts';

const heldName = 'tickets';
/** A ticket is good for one to two of these: the current key seals, the one before still opens. */
const rotationMs = 12 * 3_600_000;

/** The keys, which are rotated for as long as this process lives. Called once. */
export function openTicketKeys(keeper: Keeper, state: StateStore): number {
  const held = keeper.held.get(heldName);
  const fd = held ?? native.createTicketKeys();
  if (held === undefined) keeper.put(heldName, fd);
  scheduleRotation(fd, keeper, state);
  return fd;
}

function scheduleRotation(fd: number, keeper: Keeper, state: StateStore): void {
  const rotatedAtMs = state.current.ticketKeysRotatedAtMs;
  const dueMs = rotatedAtMs + rotationMs - Date.now();
  // The clock may jump either way: never in a loop, never later than one period.
  const delay = Math.min(Math.max(dueMs, 1_000), rotationMs);
  setTimeout(() => {
    // The keys are shared with the master that serves.
    if (keeper.role === 'leaving') return;
    const rotatedByOther = state.current.ticketKeysRotatedAtMs !== rotatedAtMs;
    if (keeper.role === 'candidate' || rotatedByOther) return scheduleRotation(fd, keeper, state);
    native.rotateTicketKeys({ fd });
    log('info', 'ticket_keys_rotated', {});
    state.update({ ticketKeysRotatedAtMs: Date.now() });
    scheduleRotation(fd, keeper, state);
  }, delay).unref();
}
