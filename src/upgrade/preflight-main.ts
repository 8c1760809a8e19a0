// SPDX-License-Identifier: MIT
// Run by a serving master out of the installation that it may upgrade to: whether this version loads here and takes the configuration,
// certificates and ticket keys as they are in memory. Stdin has a WorkerPlan as JSON, with descriptors 3 and up; stdout gets a Verdict.
import { readFileSync } from 'node:fs';
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
const verdict = (error?: string): Verdict => ({
  version: packageVersion(),
  node: process.versions.node,
  openssl: process.versions.openssl ?? '',
  error,
});
process.stdout.write(JSON.stringify(verdict(fault(question))));
process.exit(0);

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
