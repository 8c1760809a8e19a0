// SPDX-License-Identifier: MIT
// Inside the kernel of scripts/kernel-lab: runs test files and native test programs one after the other, says after each how it
// went, and ends with 0 when it has run all of them. Usage: run-files.ts SECONDS-FOR-EACH FILE...
import { doctestCounts, runStep, testFile } from '../run-step.ts';

const [seconds = '', ...files] = process.argv.slice(2);
for (const file of files) {
  const native = { name: file, command: [file], deadline: Number(seconds), count: doctestCounts };
  const counts = await runStep(file.endsWith('.ts') ? testFile(file, Number(seconds)) : native);
  console.log(`done: ${file}: ${JSON.stringify(counts)}`);
}
