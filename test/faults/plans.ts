// SPDX-License-Identifier: MIT
// Who comes in a round.
import type { TlsVersion } from '../helpers/tls-records.ts';
import type { Plan } from './visit.ts';

/** Every kind of visit at once, or such that nobody reads for a while. */
export type RoundKind = 'usual' | 'slow';

/** To resume a session by. */
export type Tickets = Partial<Record<TlsVersion, Buffer>>;

/** Each way, in a slow round: more than the sockets on the way hold. */
const slowBytes = 6 << 20;

/** What the two ends of a session can do to it, in both versions; or only be slow. `rekeys`: new keys are asked for, too. */
export function plansOf(kind: RoundKind, rekeys: boolean, tickets: Tickets): Plan[] {
  if (kind === 'slow') {
    return (['1.3', '1.2'] as const).map((version) => ({ version, leave: 'client', bytes: slowBytes, slow: true }));
  }
  const session = (version: TlsVersion): Partial<Plan> => {
    const ticket = tickets[version];
    return ticket === undefined ? {} : { session: ticket };
  };
  return [
    { version: '1.3', leave: 'client', bytes: 2_000, piece: 100 },
    { version: '1.2', leave: 'client', bytes: 300_000 },
    { version: '1.3', leave: 'client', bytes: 300_000, rekeys },
    { version: '1.2', leave: 'client first', bytes: 40_000, ...session('1.2') },
    { version: '1.3', leave: 'client first', bytes: 40_000, ...session('1.3') },
    { version: '1.3', leave: 'backend first', bytes: 40_000, piece: 3_000, rekeys },
    { version: '1.2', leave: 'client reset', bytes: 20_000 },
    { version: '1.3', leave: 'backend reset', bytes: 20_000 },
  ];
}

export function describePlan({ version, leave, bytes }: Plan): string {
  return `TLS ${version}, ${bytes} bytes, ends by ${leave}`;
}
