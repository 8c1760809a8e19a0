// SPDX-License-Identifier: MIT
// A process for one target in TypeScript: its coverage is its own. Arguments: `fuzz` or `merge`, the target, its work directory, seconds.
// Its last line of output is a Report. Also runs single inputs: `again TARGET FILE`.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fuzz, inputsOf, judge, nameOf, type Progress, worthKeeping } from '../../test/fuzz/guided.ts';
import { targets } from '../../test/fuzz/targets.ts';

export interface Report extends Progress {
  readonly seconds: number;
  readonly added: number;
  readonly error?: string;
  /** Of the error. */
  readonly input?: string;
}

const [mode = '', name = '', work = '', seconds = ''] = process.argv.slice(2);
const kept = join('test/fuzz/corpus', name);
const { target, guidance } = targets[name] ?? {};
if (target === undefined || guidance === undefined) throw new Error(`there is no target ${name}`);

if (mode === 'again') {
  await judge(target, readFileSync(work));
} else {
  let progress: Progress = { executions: 0, places: 0, features: 0, corpus: 0 };
  let added = 0;
  let found: { readonly error: string; readonly input: string } | undefined;
  mkdirSync(kept, { recursive: true });
  mkdirSync(work, { recursive: true });
  if (mode === 'merge') {
    const worth = await worthKeeping(target, guidance, inputsOf(kept), inputsOf(work));
    for (const input of worth) writeFileSync(join(kept, nameOf(input)), input);
    added = worth.length;
  } else {
    const seeds = [...inputsOf(kept), ...inputsOf(work)];
    const result = await fuzz(target, guidance, work, seeds, Number(seconds), (now) => {
      progress = now;
    });
    if (result !== undefined) {
      const input = `${work}-crash-${nameOf(result.input)}`;
      writeFileSync(input, result.input);
      found = { error: result.error.stack ?? result.error.message, input };
    }
  }
  const { user, system } = process.cpuUsage();
  const report: Report = { ...progress, seconds: (user + system) / 1e6, added, ...found };
  console.log(JSON.stringify(report));
}
process.exit();
