// SPDX-License-Identifier: MIT
// Entry point of a worker process. Its fd 3 is the channel to the master.
import { checkRuntime } from '../runtime.ts';

checkRuntime();
process.title = 'ironsocket: worker';
const { startWorker } = await import('./worker.ts');
startWorker();
