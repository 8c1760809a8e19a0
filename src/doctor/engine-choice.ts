// SPDX-License-Identifier: MIT
// What `offload: auto` makes of a kernel: the same rule as ChooseEngine of native/record/offload.cc, for people.
import { engineReasons } from '../config/offload.ts';
import type { KernelReport } from '../native.ts';

export type Version = '1.2' | '1.3';
export type Cipher = KernelReport['keys'][number]['cipher'];
export const versions = ['1.2', '1.3'] as const satisfies readonly Version[];

export interface Choice {
  readonly version: Version;
  readonly cipher: Cipher;
  /** `send`: to the client. */
  readonly direction: 'send' | 'receive';
  readonly engine: 'kernel' | 'userspace';
  /** Empty for the kernel. */
  readonly reason: '' | 'no-kernel-tls' | 'no-cipher' | 'no-rekey';
}

/** One for each version, cipher and direction. */
export function chooseEngines(probe: KernelReport): readonly Choice[] {
  return probe.keys.flatMap(({ version, cipher, tx, rx }) =>
    (['send', 'receive'] as const).map((direction): Choice => {
      const reason = whyNot(probe, version, direction === 'send' ? tx : rx);
      return { version, cipher, direction, engine: reason === '' ? 'kernel' : 'userspace', reason };
    }),
  );
}

function whyNot(probe: KernelReport, version: Version, keys: string): Choice['reason'] {
  if (probe.ulp !== 'ok') return 'no-kernel-tls';
  if (keys !== 'ok') return 'no-cipher';
  return version === '1.3' && !probe.rekey ? 'no-rekey' : '';
}

export interface Verdict {
  readonly version: Version;
  /** `mixed`: it depends on the cipher or the direction. */
  readonly engine: 'kernel' | 'userspace' | 'mixed';
  /** A sentence without its full stop. */
  readonly why: string;
}

export function verdicts(choices: readonly Choice[]): readonly Verdict[] {
  return versions.map((version) => {
    const own = choices.filter((choice) => choice.version === version);
    const left = own.filter(({ engine }) => engine === 'userspace');
    if (left.length === 0) return { version, engine: 'kernel', why: 'it takes every cipher, both ways' };
    if (left.length < own.length)
      return { version, engine: 'mixed', why: `but userspace for ${namesOf(left)}: ${reasonText(left[0]?.reason)}` };
    return { version, engine: 'userspace', why: reasonText(own[0]?.reason) };
  });
}

/** `CHACHA20-POLY1305`, or `AES-128-CCM (receive)` where the other direction is the kernel's. */
function namesOf(left: readonly Choice[]): string {
  const ciphers = [...new Set(left.map(({ cipher }) => cipher))];
  return ciphers
    .map((cipher) => {
      const [one, other] = left.filter((choice) => choice.cipher === cipher);
      return other === undefined ? `${cipher} (${one?.direction})` : cipher;
    })
    .join(', ');
}

function reasonText(reason: Choice['reason'] | undefined): string {
  if (reason === 'no-rekey') return `${engineReasons.noRekey}, a client's KeyUpdate would end its session`;
  return reason === 'no-cipher' ? engineReasons.noCipher : engineReasons.noKernelTls;
}
