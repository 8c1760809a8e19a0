// SPDX-License-Identifier: MIT
// A worker in valgrind, with this process as its master, client and backend (scripts/memcheck). The connections are of both versions of
// TLS, carry bytes both ways, and end in all the ways there are.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { ListenerPlan } from '../src/native.ts';
import type { ToMaster, ToWorker, WorkerPlan } from '../src/worker/messages.ts';
import { ecdsa } from '../test/helpers/certificates.ts';
import { freePort, versions } from '../test/helpers/proxy.ts';
import { RawTlsClient } from '../test/helpers/raw-tls-client.ts';
import { alert, contentType } from '../test/helpers/tls-records.ts';
import { count, provide } from './command-line.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const report = join(root, 'build-native/memcheck.log');
const beside = 10;
const command = new Command('scripts/memcheck')
  .description(
    "A worker in valgrind's memcheck serves connections. What was found is printed, in full where our code is in it.",
  )
  .argument('[connections]', 'how many', count, 1000)
  .addHelpText(
    'after',
    `
valgrind is installed where it is missing (root). A thousand connections take some minutes. All that valgrind said stays in
build-native/memcheck.log. Exit code 1: something was found in our code.`,
  )
  .parse();
const wanted = command.processedArgs[0] as number;
provide(command, ['valgrind']);
// Not before: a help text needs no addon.
const { counterNames, native } = await import('../src/native.ts');
const { openLink } = await import('../src/worker/link.ts');

mkdirSync(join(root, 'build-native'), { recursive: true });
const echo = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1');
await once(echo, 'listening');
const port = await freePort();
const worker = await startWorker();
const started = performance.now();
let begun = 0;
let done = 0;
await Promise.all(Array.from({ length: beside }, connections));
worker.link.send({ type: 'drain' });
const [code] = await worker.exited;
const seconds = ((performance.now() - started) / 1000).toFixed(0);
console.log(`${done} connections in ${seconds} s, the worker ended with ${code}`);
process.exit(summary() && code === 0 ? 0 : 1);

async function connections(): Promise<void> {
  while (begun < wanted) {
    await connection(begun++);
    done++;
    if (done % 100 === 0) console.log(`${done} of ${wanted}`);
  }
}

async function connection(number: number): Promise<void> {
  const version = versions[number % 2] ?? '1.3';
  const client = await RawTlsClient.connect({ port, version });
  const ended = client.peer.end;
  const bytes = Buffer.alloc(number % 10 === 0 ? 100_000 : 1000, number);
  for (let at = 0; at < bytes.length; at += 16_000) client.sendData(bytes.subarray(at, at + 16_000));
  await client.readData(bytes.length);
  if (version === '1.3' && number % 3 === 0) client.sendKeyUpdate(1);
  const ends = [
    () => client.sendAlert(alert.closeNotify),
    () => client.peer.reset(),
    () => client.peer.finish(),
    () => client.sendData('x', { flip: true }),
    () => client.sendAlert(alert.decodeError),
    () => client.peer.write(Buffer.alloc(100, 255)),
    () => client.send(contentType.handshake, Buffer.alloc(4)),
  ];
  ends[(number >> 1) % ends.length]?.();
  await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5_000))]);
  client.peer.socket.destroy();
}

async function startWorker() {
  const { a, b } = native.socketPair();
  const valgrind = ['--smc-check=all-non-file', '--num-callers=25', '--error-limit=no', `--log-file=${report}`];
  // A handle of libuv's is found by what lies inside it alone, and so is only possibly lost.
  const leaks = ['--leak-check=full', '--show-leak-kinds=definite', '--errors-for-leak-kinds=definite'];
  const program = [process.execPath, join(root, 'dist/worker/main.js')];
  const child = spawn('valgrind', [...valgrind, ...leaks, ...program], {
    stdio: ['ignore', 'ignore', 'inherit', b],
    // Which the valgrind of Debian 12 does not know.
    env: { ...process.env, UV_USE_IO_URING: '0' },
  });
  process.on('exit', () => child.kill('SIGKILL'));
  native.closeFd({ fd: b });
  const ready = Promise.withResolvers<void>();
  const link = openLink<ToWorker, ToMaster>({
    fd: a,
    onMessage: (message) => {
      if (message.type === 'ready') ready.resolve();
      if (message.type === 'failed') ready.reject(new Error(message.error));
    },
    onClose: () => {},
    onMismatch: () => {},
  });
  const text = (file: string): number => native.textToMemfd({ name: 'pem', text: readFileSync(file, 'utf8') });
  const fds = [
    native.textToMemfd({ name: 'log', text: '' }),
    native.makeCounters({ names: counterNames, threads: 4 }),
    native.listen({ address: `127.0.0.1:${port}`, backlog: 128, v6Only: false }),
    text(ecdsa.cert),
    text(ecdsa.key),
    native.createTicketKeys(),
  ];
  link.send({ type: 'plan', ...planOf() }, fds);
  await ready.promise;
  console.log('the worker serves');
  return { link, exited: once(child, 'exit') };
}

/** Descriptors are their places in the list that goes with it. */
function planOf(): WorkerPlan {
  const backend = `127.0.0.1:${(echo.address() as AddressInfo).port}`;
  const listener: ListenerPlan = {
    ...{ id: 1, name: 'web', fd: 2, certificates: [{ chainFd: 3, keyFd: 4 }] },
    ...{ minVersion: '1.2', maxVersion: '1.3', ciphers: [], alpn: [], proxyProtocol: 'none' },
    ...{ backend, backendAddresses: [backend], onTruncation: 'fin' },
    ...{ handshakeMs: 60_000, connectMs: 60_000, idleMs: 60_000, halfClosedMs: 60_000 },
    ...{ offload: 'auto', offloadAfter: 0 },
  };
  return {
    ...{ id: 1, revision: 1, logLevel: 'debug', accepting: true, logFd: 0, countersFd: 1 },
    ...{ handshakeThreads: 1, relayThreads: 2, keyUpdateRecords: 0, kernelDirections: 'both' },
    plan: { listeners: [listener], maxConnections: 1000, ticketKeysFd: 5 },
  };
}

/** Prints what was found, in full where our code is in the stack; false where it is. */
function summary(): boolean {
  const lines = readFileSync(report, 'latin1').replace(/^==\d+== ?/gm, '');
  const blocks = lines.split('\n\n').filter((block) => /^\s+(at|by) 0x/m.test(block));
  const isOurs = (block: string): boolean => /ironsocket\.node|ironsocket::/.test(block);
  const kindOf = (block: string): string => (block.split('\n')[0] ?? '').replace(/[\d,]+/g, 'N').trim();
  const kinds = new Map<string, { ours: number; node: number }>();
  for (const block of blocks) {
    const count = kinds.get(kindOf(block)) ?? { ours: 0, node: 0 };
    count[isOurs(block) ? 'ours' : 'node']++;
    kinds.set(kindOf(block), count);
  }
  console.table(Object.fromEntries(kinds));
  for (const block of blocks.filter(isOurs)) console.log(block);
  const [totals = 'valgrind did not come to its end'] = /^ERROR SUMMARY: .*/m.exec(lines) ?? [];
  console.log(`${totals}\n${lines.match(/^\s+definitely lost: .*/m)?.[0].trim() ?? ''}`);
  return !blocks.some(isOurs) && totals.startsWith('ERROR');
}
