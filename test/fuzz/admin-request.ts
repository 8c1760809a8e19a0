// SPDX-License-Identifier: MIT
// Whatever somebody writes to the control socket: an answer in lines of JSON, the last of which is a result or an error with a
// sentence; or none to who wrote nothing. The server goes on.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { AdminAnswer, AdminRequest } from '../../src/admin/protocol.ts';
import { serveAdmin } from '../../src/admin/server.ts';
import { upgradeRequest } from '../../src/master/control.ts';
import { native } from '../../src/native.ts';
import type { Guidance, Target } from './guided.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-fuzz-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const path = join(directory, 'control.sock');

const fd = native.listen({ address: `unix:${path}`, backlog: 16, v6Only: false, mode: 0o600 });
const server = serveAdmin(fd, {
  status: async () => ({ state: 'serving' }),
  upgrade: async (request: AdminRequest, tell) => {
    tell({ phase: 'preflight' });
    const { to, check, timeoutMs, pauseAt } = upgradeRequest(request);
    const sound = (to === undefined || typeof to === 'string') && typeof check === 'boolean' && timeoutMs > 0;
    return { sound: sound && (pauseAt === undefined || typeof pauseAt === 'string') };
  },
});
server.unref();

export const target: Target = async (input) => {
  const socket = connect({ path, allowHalfOpen: true });
  await once(socket, 'connect');
  socket.end(input);
  const answer = (await buffer(socket)).toString('utf8');
  if (input.length === 0 && answer !== '') throw new Error('an answer to nothing');
  if (answer === '') return;
  const lines = answer.trimEnd().split('\n');
  const last = JSON.parse(lines.pop() ?? '') as AdminAnswer;
  for (const line of lines) {
    if ((JSON.parse(line) as AdminAnswer).type !== 'progress') throw new Error('two last words');
  }
  if (last.type === 'error' && /\w{3}/.test(last.error.message)) return;
  if (last.type !== 'result' || ('sound' in last.value && last.value.sound !== true))
    throw new Error(`the answer makes no sense: ${JSON.stringify(last)}`);
};

export const guidance: Guidance = {
  counts: (url) => url.includes('/src/admin/') || url.includes('/src/master/control.ts'),
  words:
    '{"v":1,"command":"status"}|\n|"command":"upgrade"|"to":"/x"|"check":true|"timeoutMs":|"pauseAt":"no-batch"|1e308|-1|null|{"toString":1}|"__proto__"|"constructor"|"hasOwnProperty"|[|]|{|}|,|:|"|{"v":1,|{"v":2}|\\u0000'.split(
      '|',
    ),
};
