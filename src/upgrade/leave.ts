// SPDX-License-Identifier: MIT
// The end of a master whose place another one has taken: its worker's sessions go on until they end by themselves, or until the service
// is told to stop. Sockets, socket files and everything else that the two shared belong to the other one now.
import { exitCodes } from '../errors.ts';
import type { Service } from '../master/service.ts';
import { monotonicMs } from '../master/state.ts';
import { native } from '../native.ts';
import { log } from '../observe/log.ts';
import { within } from '../time-limit.ts';
import type { Standby } from './standby.ts';

/** After `end`, before SIGKILL. */
const endLimitMs = 2_000;
/** For those who still ask on the control socket. */
const askLimitMs = 5_000;

/** For an upgrade to tell its outcome, once no session is left. */
const toldLimitMs = 10_000;

/** What a master that has just made another one serve still owes it. */
export interface Handover {
  readonly standby: Standby;
  /** Settles when the upgrade has told its outcome. */
  readonly told: Promise<void>;
}

/** Does not return. Without `handover` this master follows a dead one that was leaving. */
export async function leave(service: Service, handover?: Handover): Promise<void> {
  const { keeper, setup, state, tally, workers } = service;
  const id = state.current.worker?.id ?? 0;
  // The keeper counts on; a master that follows this one is of the same generation.
  const { leavingGeneration: generation = keeper.generation } = state.current;
  if (state.current.leavingGeneration === undefined) state.update({ leavingGeneration: generation });
  log('info', 'leaving', { generation });
  const asked = service.closeControl();
  for (const { heldName, fd } of setup.listeners) {
    keeper.drop(heldName);
    native.closeFd({ fd });
  }
  if (handover === undefined) {
    workers.start(true);
    endInTime(service);
  } else {
    workers.stop();
  }
  const told = await workers.ended;
  await within(Promise.resolve(handover?.told), toldLimitMs, () => undefined);
  await within(asked, askLimitMs, () => undefined);
  const cut = told?.cut ?? 0;
  const sessions_total = tally.of(id)?.sessions_total ?? 0;
  log(cut > 0 ? 'warn' : 'info', 'left', { sessions_total, sessions_cut: cut });
  keeper.exit(exitCodes.ok);
  process.exit(exitCodes.ok);
}

/** The service is told to stop: sessions have as long as any stop gives them; told again, they end now. */
export function hurry(service: Service): void {
  const { state, workers } = service;
  if (state.current.drainUntilMs !== undefined) {
    workers.end();
    return;
  }
  const { drainMs } = state.current.config;
  log('info', 'draining', { limit_ms: drainMs });
  // For a master that follows this one as well.
  state.update({ drainUntilMs: monotonicMs() + drainMs });
  endInTime(service);
}

/** Where the service has been told to stop. */
function endInTime({ state, workers }: Service): void {
  const { drainUntilMs } = state.current;
  if (drainUntilMs === undefined) return;
  const limitMs = Math.max(0, drainUntilMs - monotonicMs());
  setTimeout(() => workers.end(), limitMs);
  setTimeout(() => workers.kill(), limitMs + endLimitMs);
}
