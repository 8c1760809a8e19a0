// SPDX-License-Identifier: MIT
// A master that does what a test says: run by the keeper as `node scripted-master.ts SOCKET`. It tells the test every message of the
// keeper, and sends what the test gives it. Lines of JSON both ways.
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { native } from '../../src/native.ts';
import type { FromMaster, ToMaster } from './keeper.ts';

const socket = connect(process.argv[2] ?? '');
const tell = (line: FromMaster) => socket.write(`${JSON.stringify(line)}\n`);
tell({ pid: process.pid });
const channel = native.openChannel({
  fd: 3,
  onMessage: (message, fds) => {
    for (const fd of fds) native.closeFd({ fd });
    tell({ message, fds: fds.length });
  },
  onClose: () => process.exit(0),
});
for await (const line of createInterface(socket)) {
  const { send, memfd, exit } = JSON.parse(line) as ToMaster;
  if (exit !== undefined) process.exit(exit);
  const fds = memfd === undefined ? [] : [native.textToMemfd({ name: 'test', text: memfd })];
  if (send !== undefined) channel.send({ message: send, fds });
  for (const fd of fds) native.closeFd({ fd });
}
