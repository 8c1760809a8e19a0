// SPDX-License-Identifier: MIT
// Sessions of every kind live through the same upgrades, and then end as any session does: same connections on both sides, every
// byte, and one line in the log that tells of the whole of it. Handshakes end in the old worker and follow.
// Also with sanitizers: sessions go from thread to thread of two processes.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Backend, type Sleeper, startBackend, startEcho, startSleeper } from '../helpers/backends.ts';
import { ecdsa, rsa } from '../helpers/certificates.ts';
import { type Engine, engines, isKernel, kernelRekeys } from '../helpers/engines.ts';
import { survivors } from '../helpers/processes.ts';
import { freePort, type ListenerOptions, type RunningProxy, versions } from '../helpers/proxy.ts';
import type { RawClientOptions, RawTlsClient } from '../helpers/raw-tls-client.ts';
import { type Kind, type Living, type Place, type Stage, talkingTo } from '../helpers/session-kinds/kind.ts';
import { keyUpdateRecords, kindsWithABackend } from '../helpers/session-kinds/with-a-backend.ts';
import { kindsWithAnEcho, offloadAfter } from '../helpers/session-kinds/with-an-echo.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { suitesOnRequest, type TlsVersion } from '../helpers/tls-records.ts';
import { upgradeAsked } from '../helpers/upgrade.ts';
import { sharedProxy, variantOf } from '../helpers/variants.ts';

const kinds = [...kindsWithAnEcho, ...kindsWithABackend];
const directory = mkdtempSync(join(tmpdir(), 'ironsocket-kinds-'));
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const echo = await startEcho();
const echo6 = await startEcho({ host: '::1' });
const unixEcho = await startEcho({ path: join(directory, 'backend') });

/** A proxy with a listener for each place, and what is behind it. */
interface Setting {
  readonly proxy: RunningProxy;
  readonly engine: Engine;
  readonly at: (place: Place) => RawClientOptions;
  readonly talk: Backend;
  readonly sleeper: Sleeper;
}

async function settingOf(engine: Engine): Promise<Setting> {
  const talk = await startBackend();
  const sleeper = await startSleeper();
  const path = join(directory, engine.name);
  const v6 = await freePort('::1');
  const listeners: Partial<Record<Place, ListenerOptions>> = {
    echo: { backend: echo.address, certificates: [ecdsa, rsa] },
    talk: { backend: talk.address },
    ccm: { backend: echo.address, tls: { ciphers: suitesOnRequest.map(({ name }) => name) } },
    v6: { listen: `[::1]:${v6}`, backend: echo6.address },
    unixBackend: { backend: unixEcho.address },
    sleeper: { backend: sleeper.address, proxy_protocol: 'v1' },
    later: { backend: echo.address, ...(isKernel(engine) ? { offload_after: `${offloadAfter}B` } : {}) },
    ...(isKernel(engine) ? {} : { unixListener: { listen: `unix:${path}`, backend: unixEcho.address } }),
  };
  const config = {
    timeouts: { handshake: '2m', connect: '2m', half_closed: '2m' },
    // The sockets' directory is ours alone.
    ...(process.geteuid?.() === 0 ? { user: 'root' } : {}),
  };
  const env = isKernel(engine) && !kernelRekeys ? {} : { IRONSOCKET_TEST_KEY_UPDATE_RECORDS: String(keyUpdateRecords) };
  const proxy = await sharedProxy({ listeners: Object.values(listeners), config, env }, engine);
  const at = (place: Place): RawClientOptions => {
    if (place === 'v6') return { host: '::1', port: v6 };
    return place === 'unixListener' ? { path } : { port: proxy.ports[Object.keys(listeners).indexOf(place)] ?? 0 };
  };
  return { proxy, engine, at, talk, sleeper };
}

type OfAllVersions = Pick<Stage, 'upgraded' | 'talk'>;

function stageOf(
  { proxy, engine, at, sleeper }: Setting,
  version: TlsVersion,
  { upgraded, talk }: OfAllVersions,
): Stage {
  return { variant: variantOf(proxy, engine, version), at, upgraded, talk, wake: sleeper.wake };
}

interface Named {
  readonly name: string;
  readonly kind: Kind;
  readonly stage: Stage;
  living: Living;
  /** Settles when it has finished. */
  end: Promise<unknown>;
  /** When it was opened, when it had been brought into its state, and when it was to end. */
  readonly times: { asked: number; open: number; ending: number };
}

const unset: Living = { finish: () => Promise.reject(new Error('it was not opened')) };

interface Expected {
  readonly moved: number;
  readonly handshakes: number;
}

/** An upgrade that leaves no session behind; what it tells of them. */
async function moveAll({ proxy, engine }: Setting, { moved, handshakes }: Expected): Promise<void> {
  const { sessions } = await upgradeAsked(proxy);
  const told = [sessions.moved, sessions.kept, sessions.lost, sessions.handshakes.open];
  assert.equal(told, [moved, 0, 0, handshakes], 'moved, kept, lost, open');
  const key = engine.name.replace('-', '_') as keyof typeof sessions.engines;
  assert.ok(sessions.engines[key] > moved / 2, JSON.stringify(sessions));
}

/** A line of the log about a client. Clients of different listeners may have the same port. */
function told({ log }: RunningProxy, subevent: string, client: RawTlsClient) {
  return log.waitFor({ event: 'proxy', subevent, client_port: client.port, listen_port: client.listenPort });
}

/** What the log told of a session when it came, against what it tells at its end. */
async function checkEnd(proxy: RunningProxy, client: RawTlsClient, times: Named['times']): Promise<void> {
  const end = await told(proxy, 'client_disconnect', client);
  const start = await told(proxy, 'client_connect', client);
  assert.is(end.connection_id, start.connection_id);
  assert.is(end.reason, 'closed');
  assert.is(end.bytes_from_client, String(client.payloadOut));
  assert.is(end.bytes_to_client, String(client.payloadIn));
  // Not since the last upgrade. A thread that stands still in the middle of its turn goes by the time when the turn began.
  const [least, most] = [times.ending - times.open, performance.now() - times.asked];
  const lived = Number(end.duration_ms);
  const message = `${lived} ms in the log, ${Math.round(least)} to ${Math.round(most)} in fact`;
  assert.ok(lived > least * 0.75 && lived < most * 1.25, message);
}

for (const setting of await Promise.all(engines.map(settingOf))) {
  const { proxy, engine, talk } = setting;
  const { label } = engine;
  const upgraded = Promise.withResolvers<void>();
  const opener = talkingTo(talk, setting.at('talk'));
  const all: Named[] = versions.flatMap((version) => {
    const stage = stageOf(setting, version, { upgraded: upgraded.promise, talk: opener });
    return kinds
      .filter(({ fits }) => fits === undefined || fits(stage.variant))
      .map((kind) => ({
        name: `${stage.variant.label}: a session ${kind.name}`,
        kind,
        stage,
        living: unset,
        end: Promise.resolve(),
        times: { asked: 0, open: 0, ending: 0 },
      }));
  });
  const count = (...when: readonly Kind['moves'][]): number =>
    all.filter(({ kind }) => when.includes(kind.moves)).length;
  let accepted = 0;

  test(`${label}: sessions of every kind are there before an upgrade`, async () => {
    const opening = all.map(async (each) => {
      each.times.asked = performance.now();
      each.living = await each.kind.open(each.stage).catch((cause) => {
        throw new Error(`${each.name} can't be opened: ${cause.message}`, { cause });
      });
      each.times.open = performance.now();
    });
    await Promise.all(opening);
    accepted = talk.accepted();
    // A worker that leaves waits for its log for 200 ms, and we may have much to do.
    const clients = all.map(({ living }) => living.client).filter((client) => client !== undefined);
    await Promise.all(clients.map((client) => told(proxy, 'client_connect', client)));
  });

  test(`${label}: all move, and what was in its handshake follows`, async () => {
    const [master, worker] = [proxy.masterPid(), proxy.workerPid()];
    try {
      await moveAll(setting, { moved: count(undefined), handshakes: count('after the first upgrade') });
    } finally {
      upgraded.resolve();
    }
    await proxy.log.waitFor({ event: 'left', pid: master });
    assert.equal(await survivors([master, worker]), []);
  });

  for (const each of all) {
    test(`${each.name} goes on`, () => each.living.between?.());
  }

  // Upgrades take seconds in the kernel lab: there one is enough where only one direction is the kernel's.
  if (timeFactor === 1 || engine.rx === engine.tx) {
    const moved = count(undefined, 'after the first upgrade');
    test(`${label}: all move once more`, () => moveAll(setting, { moved, handshakes: 0 }));
  }

  test(`${label}: all are brought to their end`, () => {
    // At once: TCP gives a reader that was slow for long its next bytes late.
    for (const each of all) {
      each.times.ending = performance.now();
      each.end = each.living.finish();
      each.end.catch(() => {});
    }
  });

  for (const each of all) {
    test(`${each.name} goes on to its end`, async () => {
      await each.end;
      const { client } = each.living;
      if (client !== undefined) await checkEnd(proxy, client, each.times);
    });
  }

  test(`${label}: no backend has seen a second connection, and no two sessions had one id`, () => {
    assert.is(talk.accepted(), accepted);
    const ids = proxy.log.all({ event: 'proxy', subevent: 'client_connect' }).map((line) => line.connection_id);
    assert.is(new Set(ids).size, ids.length);
  });
}
