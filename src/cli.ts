#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// The launcher. An old Node must be told so in one sentence instead of failing somewhere in a dependency, so everything
// else is imported after that check.
import { checkRuntime } from './runtime.ts';

checkRuntime();
const { watchOutput } = await import('./commands/output.ts');
watchOutput();
const { main } = await import('./commands/program.ts');
const exitCode = await main(process.argv.slice(2));
// output that failed has set it already
process.exitCode = exitCode || process.exitCode;
