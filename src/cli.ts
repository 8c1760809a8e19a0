#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// The launcher. An old Node must be told so in one sentence instead of failing somewhere in a dependency, so everything
// else is imported after that check.
import { checkRuntime } from './runtime.ts';

checkRuntime();
// `ironsocket check | head` closes our stdout early
process.stdout.on('error', () => {});
const { main } = await import('./commands/program.ts');
process.exitCode = await main(process.argv.slice(2));
