// SPDX-License-Identifier: MIT
// Entry point of the process behind `--demo`, which stands for your service: it outlives every master. Its argument is the path of its
// socket. Its fd 3 is a channel on which it says that it listens; when the other end is closed, it ends.
import { native } from '../native.ts';
import { serveDemo } from './server.ts';

// Signals go to whoever runs the service: it outlives them as the worker does.
native.hardenProcess();
process.title = 'ironsocket: demo';
const channel = native.openChannel({ fd: 3, onMessage: () => {}, onClose: () => process.exit(0) });
await serveDemo(process.argv[2] ?? '');
channel.send({ message: 'listening' });
