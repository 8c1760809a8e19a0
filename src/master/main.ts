// SPDX-License-Identifier: MIT
// Entry point of the master process, started by the keeper. Its fd 3 is the channel to it; its arguments are those of `run`.
import { checkRuntime } from '../runtime.ts';

checkRuntime();
process.title = 'ironsocket: master';
const { startMaster } = await import('./master.ts');
await startMaster(process.argv.slice(2));
