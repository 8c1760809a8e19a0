// SPDX-License-Identifier: MIT
// Run by a serving master out of the installation that it may upgrade to: whether this version loads here and takes the configuration,
// certificates and ticket keys as they are in memory, and whether it can read the sessions that there are. Stdin has a Question as JSON,
// with descriptors 3 and up; stdout gets a Verdict.
import { readFileSync } from 'node:fs';
import type { Examined } from '../native.ts';
import { checkRuntime } from '../runtime.ts';
import type { Question, Verdict } from './preflight.ts';

checkRuntime();
process.title = 'ironsocket: preflight';
const [{ native }, { controlVersion }, { stateVersion }, { packageVersion }] = await Promise.all([
  import('../native.ts'),
  import('../control-version.ts'),
  import('../master/state.ts'),
  import('../commands/version.ts'),
]);
native.hardenProcess();
const question = JSON.parse(readFileSync(0, 'utf8')) as Question;
const verdict = (error: string | undefined): Verdict => ({
  version: packageVersion(),
  node: process.versions.node,
  openssl: process.versions.openssl ?? '',
  error,
  sessions: error === undefined ? examine(question.sessions) : undefined,
});
process.stdout.write(JSON.stringify(verdict(fault(question))));
process.exit(0);

/** None in a question of a version that did not send them. */
function examine(fds: readonly number[] = []): Examined {
  const none: Examined = { kernel: 0, userspace: 0, kernel_tx: 0, kernel_rx: 0, refused: 0, firstRefused: [] };
  return fds.map((fd) => native.examineInventory({ fd })).reduce(addExamined, none);
}

function addExamined(a: Examined, b: Examined): Examined {
  return {
    kernel: a.kernel + b.kernel,
    userspace: a.userspace + b.userspace,
    kernel_tx: a.kernel_tx + b.kernel_tx,
    kernel_rx: a.kernel_rx + b.kernel_rx,
    refused: a.refused + b.refused,
    firstRefused: [...a.firstRefused, ...b.firstRefused].slice(0, 20),
  };
}

function fault({ control, state, handoff, worker }: Question): string | undefined {
  if (control !== controlVersion) {
    return `it speaks version ${controlVersion} of the control protocol, and what runs version ${control}`;
  }
  if (state !== stateVersion) return `it knows state of version ${stateVersion}, and what runs has version ${state}`;
  const ours = native.handoffVersion();
  if (Math.abs(ours - handoff) > 1) {
    return `it knows sessions of version ${ours - 1} to ${ours + 1}, and those here have version ${handoff}: take the versions between them first`;
  }
  try {
    native.openLog({ fd: worker.logFd, level: 'fatal', processType: 'worker' });
    const { keyUpdateRecords, kernelDirections } = worker;
    const tests = { keyUpdateRecords, kernelDirections };
    const counting = { worker: 0, countersFd: -1 };
    const engine = native.createEngine({
      ...counting,
      handshakeThreads: 1,
      relayThreads: 1,
      ...tests,
      onEvents: () => {},
    });
    engine.check(worker.plan);
    engine.close();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
