// SPDX-License-Identifier: MIT
// Sessions of many kinds that live through one upgrade together: what a kind is, and what all of them use.
import * as assert from 'uvu/assert';
import type { Backend } from '../backends.ts';
import { type RawClientOptions, RawTlsClient } from '../raw-tls-client.ts';
import { alert, contentType, type TlsVersion } from '../tls-records.ts';
import type { Session, Variant } from '../variants.ts';

/** Listeners of the proxy by what is behind them. */
export type Place = 'echo' | 'talk' | 'ccm' | 'later' | 'v6' | 'unixBackend' | 'unixListener' | 'sleeper';

export interface Stage {
  readonly variant: Variant;
  readonly at: (place: Place) => RawClientOptions;
  /** A session whose backend the test itself is. */
  readonly talk: (version: TlsVersion) => Promise<Session>;
  /** Settles after the first upgrade. */
  readonly upgraded: Promise<void>;
  /** The backend of `sleeper` begins to take connections. */
  readonly wake: () => void;
}

/** A session that was brought into the state that its kind is about. */
export interface Living {
  /** Once between the two upgrades. */
  readonly between?: () => Promise<void>;
  /** After the last one. Ends the session; its line in the log is then looked at. */
  readonly finish: () => Promise<unknown>;
  /** Undefined: a unix socket, which the log can't tell from another, or no session. */
  readonly client?: RawTlsClient;
}

export interface Kind {
  readonly name: string;
  /** Whether it exists with this version and engine; undefined: with all. */
  readonly fits?: (variant: Variant) => boolean;
  /** When it has a session for an upgrade to move; undefined: from the start. */
  readonly moves?: 'after the first upgrade' | 'never';
  readonly open: (stage: Stage) => Promise<Living>;
}

export const isTls13 = ({ version }: Variant): boolean => version === '1.3';
export const rekeysBothWays = (variant: Variant): boolean => isTls13(variant) && variant.rekeys.rx && variant.rekeys.tx;

/** A session with an echo, with its handshake done. */
export function openEcho({ variant, at }: Stage, options: RawClientOptions = {}, place: Place = 'echo') {
  return RawTlsClient.connect({ version: variant.version, ...at(place), ...options });
}

/** One session after the other, so that each client's backend connection is known. */
export function talkingTo(backend: Backend, options: RawClientOptions): Stage['talk'] {
  let last: Promise<unknown> = Promise.resolve();
  return (version) => {
    const open = async (): Promise<Session> => ({
      client: await RawTlsClient.connect({ ...options, version }),
      server: await backend.next(),
    });
    const session = last.then(open);
    last = session.catch(() => {});
    return session;
  };
}

/** Words to an echo and back. */
export async function say(client: RawTlsClient, words: string): Promise<void> {
  client.sendData(words);
  await hear(client, words);
}

export async function hear(client: RawTlsClient, words: string): Promise<void> {
  assert.is((await client.readData(words.length)).toString(), words);
}

/** close_notify and FIN from both sides, in order, and nothing before. */
export async function part(client: RawTlsClient): Promise<void> {
  client.sendAlert(alert.closeNotify);
  assert.equal(await client.outcome(), { data: '', alerts: [alert.closeNotify], end: 'fin' });
}

/** A record of data that is sent in two parts, with anything in between. */
export interface Halves {
  /** Sends it up to this byte. */
  readonly begin: (words: string, at: number) => void;
  /** Sends the rest. */
  readonly complete: () => void;
}

export function halves(client: RawTlsClient): Halves {
  let rest: Buffer = Buffer.alloc(0);
  return {
    begin: (words, at) => {
      const record = client.seal(contentType.data, words);
      client.peer.write(record.subarray(0, at));
      rest = record.subarray(at);
    },
    complete: () => client.peer.write(rest),
  };
}
