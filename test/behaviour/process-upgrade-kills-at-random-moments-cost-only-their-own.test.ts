// SPDX-License-Identifier: MIT
// Upgrades under streams, and at a random moment of each a process is killed: sessions whose socket it had not are whole, and the next
// upgrade works. IRONSOCKET_TEST_SEED repeats a run.
// In the kernel lab on the newest alone: who dies when is the same with every kernel.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { startBackend } from '../helpers/backends.ts';
import { CheckedSession } from '../helpers/checked-session.ts';
import { engines, isKernel } from '../helpers/engines.ts';
import { descendants } from '../helpers/processes.ts';
import { test } from '../helpers/suite.ts';
import { timeFactor } from '../helpers/time.ts';
import { upgradeByCommand } from '../helpers/upgrade.ts';
import { sharedProxy } from '../helpers/variants.ts';

const rounds = engines.some(isKernel) ? 3 : 6;
const count = 8;
const patienceMs = 10_000 * timeFactor;

const backend = await startBackend({ taking: 'count' });
const proxy = await sharedProxy({ listeners: [{ backend: backend.address }] }, engines[0]);

const seed = Number(process.env.IRONSOCKET_TEST_SEED ?? Date.now() % 1_000_000);
/** Park and Miller's generator. */
let state = seed + 1;
function random(below: number): number {
  state = (state * 48_271) % 2_147_483_647;
  return state % below;
}

const open = (place: number) =>
  CheckedSession.open(proxy.port, backend, { version: place % 2 === 0 ? '1.3' : '1.2', seed: place });

/** By the client's port: the socket that the proxy has for it. */
function proxySockets(): Map<number, string> {
  const port = (field = '') => Number.parseInt(field.split(':')[1] ?? '', 16);
  const rows = readFileSync('/proc/net/tcp', 'latin1').trim().split('\n').slice(1);
  const fields = rows.map((row) => row.trim().split(/\s+/));
  const ours = fields.filter(([, local]) => port(local) === proxy.port);
  return new Map(ours.map(([, , remote, , , , , , , inode = '']) => [port(remote), `socket:[${inode}]`]));
}

function descriptorsOf(pid: number): Set<string> {
  const names = readdirSync(`/proc/${pid}/fd`);
  return new Set(
    names.map((name) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${name}`);
      } catch {
        return 'closed meanwhile';
      }
    }),
  );
}

/** Whether all threads have done so: one in the middle of a system call does it first. */
function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
    return /^[TZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  });
}

/** Stops the process, sees which sessions it may own, and kills it. Gives the others. */
function kill(pid: number, sessions: readonly CheckedSession[]): readonly CheckedSession[] {
  try {
    process.kill(pid, 'SIGSTOP');
    while (!isStopped(pid));
    const sockets = proxySockets();
    const held = descriptorsOf(pid);
    process.kill(pid, 'SIGKILL');
    return sessions.filter(({ client }) => !held.has(sockets.get(client.port) ?? ''));
  } catch (error) {
    // It has just ended by itself.
    if (['ESRCH', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return sessions;
    throw error;
  }
}

/** Starts an upgrade and kills somebody; those sessions that this must not touch. */
async function cutUpgrade(sessions: readonly CheckedSession[]): Promise<readonly CheckedSession[]> {
  const from = proxy.log.lines.length;
  process.kill(proxy.keeperPid, 'SIGUSR2');
  const late = random(2) === 0;
  if (late) await proxy.log.waitFor({ event: 'upgrade', phase: 'switching' }, { from });
  await wait(random(late ? 60 : 700) * timeFactor);
  const victims = descendants(proxy.keeperPid);
  const victim = victims[random(victims.length)] ?? 0;
  return kill(victim, sessions);
}

/** A service that is just getting up again refuses; it must not go on doing so. */
async function upgradeAgain(): Promise<void> {
  for (const end = performance.now() + patienceMs; ; await wait(50)) {
    const { code, stderr } = await upgradeByCommand(proxy);
    if (code === 0) return;
    if (performance.now() > end) throw new Error(`no upgrade any more (${code}): ${stderr}\n${proxy.log.tail()}`);
  }
}

test(
  `${rounds} upgrades with a kill in each, seed ${seed}`,
  async (t) => {
    const sessions: CheckedSession[] = [];
    t.after(() => {
      for (const session of sessions) session.close();
    });
    for (let round = 0; round < rounds; round++) {
      for (let place = 0; place < count; place++) {
        if (sessions[place]?.ended !== false) sessions[place] = await open(place);
        sessions[place]?.stream();
      }
      const others = await cutUpgrade(sessions);
      await upgradeAgain();
      const ended = others.filter((session) => session.ended);
      assert.equal(
        ended.map(({ client }) => client.port),
        [],
        `round ${round}, seed ${seed}\n${proxy.log.tail(40)}`,
      );
      for (const session of sessions) if (!session.ended) await session.check();
      assert.ok(sessions.every((session) => session.ended || session.bytes > 0));
    }
    for (const session of sessions) session.close();
    while (descendants(proxy.keeperPid).length !== 2) await wait(10);
  },
  { deadline: 60_000, skip: process.geteuid?.() === 0 ? undefined : 'needs root, to see whose a socket is' },
);
