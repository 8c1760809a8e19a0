// SPDX-License-Identifier: MIT
// Inside the kernel of scripts/kernel-lab: runs test files and native test programs one after the other and says after each how it
// went. Usage: run-files.ts SECONDS-FOR-EACH [ENGINES FILE]..., engines as in IRONSOCKET_TEST_ENGINES.
import { doctestCounts, runStep, type Step, testFile } from '../run-step.ts';

const [seconds = '', ...pairs] = process.argv.slice(2);
for (let i = 0; i + 1 < pairs.length; i += 2) {
  const [engines = '', file = ''] = pairs.slice(i, i + 2);
  const counts = await runStep({ ...stepOf(file), env: { IRONSOCKET_TEST_ENGINES: engines } });
  console.log(`done: ${file}: ${JSON.stringify(counts)}`);
}

function stepOf(file: string): Step {
  if (file.endsWith('.ts')) return testFile(file, Number(seconds));
  return { name: file, command: [file], deadline: Number(seconds), count: doctestCounts };
}
