// SPDX-License-Identifier: MIT
// ironsocket as the subject: `upgrade` asked for over its control socket.
import { join } from 'node:path';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import { packageVersion } from '../../src/commands/version.ts';
import type { Offload } from '../../src/config/config.ts';
import type { SessionStatus, Status } from '../../src/master/status.ts';
import type { UpgradeReport } from '../../src/upgrade/report.ts';
import { descendants, isAlive } from '../../test/helpers/processes.ts';
import { type RunningProxy, startProxy } from '../../test/helpers/proxy.ts';
import { timeFactor } from '../../test/helpers/time.ts';
import { nowUs } from './delays.ts';
import type { Phase, Round, Subject, SubjectKind, SubjectOptions } from './subject.ts';

/** In which sessions move. */
const movingPhase = 'handing-off';
const leaveLimitMs = 15_000;

/** `offload` as in the configuration. */
export function ironsocket(offload: Offload): SubjectKind {
  return {
    name: 'ironsocket upgrade',
    start: async ({ backendPort }: SubjectOptions) => {
      const proxy = await startProxy({
        listeners: [{ backend: `127.0.0.1:${backendPort}`, offload }],
        config: { log: { level: 'info' } },
        leaks: false,
      });
      return subjectOf(proxy);
    },
  };
}

function subjectOf(proxy: RunningProxy): Subject {
  const control = join(controlDirectory(), `${proxy.keeperPid}.sock`);
  return {
    name: 'ironsocket upgrade',
    version: packageVersion(),
    port: proxy.port,
    pids: () => [proxy.keeperPid, ...descendants(proxy.keeperPid)],
    stop: proxy.stop,
    carriers: async () => {
      const { sessions } = (await ask(control, { command: 'status' })) as Status;
      const words = (of: SessionStatus['from_client'] | undefined) =>
        `${of?.kernel} by the kernel, ${of?.userspace} by userspace`;
      return `from clients ${words(sessions?.from_client)}; to clients ${words(sessions?.to_client)}`;
    },
    round: async () => {
      const { master, worker } = (await ask(control, { command: 'status' })) as Status;
      const passed: (Phase & { readonly atUs: number })[] = [];
      const onProgress = (progress: object) => {
        const { phase, ms } = progress as { readonly phase: string; readonly ms: number };
        passed.push({ name: phase, ms, atUs: nowUs() });
      };
      const report = (await ask(
        control,
        { command: 'upgrade', check: false, timeoutMs: 60_000 },
        onProgress,
      )) as UpgradeReport;
      // With what stays the old worker does; so do those that earlier rounds have left behind.
      if (report.sessions.kept === 0) await gone([master.pid, ...(worker === null ? [] : [worker.pid])]);
      return roundOf(report, passed);
    },
  };
}

async function gone(pids: readonly number[]): Promise<void> {
  const until = performance.now() + leaveLimitMs * timeFactor;
  while (pids.some(isAlive)) {
    if (performance.now() > until) throw new Error(`nothing keeps them, and they stay: ${pids.filter(isAlive)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function roundOf({ sessions }: UpgradeReport, passed: readonly (Phase & { readonly atUs: number })[]): Round {
  const phases = passed.map(({ name, ms }) => ({ name, ms }));
  const moving = passed.find(({ name }) => name === movingPhase);
  const { moved, kept, lost, pauses } = sessions;
  return {
    phases,
    told: { moved, kept, lost, longestPauseUs: pauses.longest_us, p99PauseUs: pauses.p99_us },
    ...(moving && { moving: { fromUs: moving.atUs - (moving.ms + 1) * 1000, toUs: moving.atUs } }),
  };
}
