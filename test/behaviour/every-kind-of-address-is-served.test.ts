// SPDX-License-Identifier: MIT
// IPv4, IPv6, dual stack and unix sockets, on both sides.
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Backend, startBackend } from '../helpers/backends.ts';
import { freePort, startProxy } from '../helpers/proxy.ts';
import { readProxyHeader } from '../helpers/proxy-header.ts';
import { type RawClientOptions, RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';
import { alert } from '../helpers/tls-records.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-sockets-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
chmodSync(directory, 0o755);
const listenerPath = join(directory, 'listener');

const v4 = await startBackend();
const v6 = await startBackend({ host: '::1' });
const unix = await startBackend({ path: join(directory, 'backend') });
const [p6, dual, star, only6, named, first, second] = await Promise.all(Array.from({ length: 7 }, () => freePort()));
const proxy = await startProxy({
  // Our directory and the backend's socket are ours alone.
  ...(process.geteuid?.() === 0 ? { user: 'root' } : {}),
  listeners: [
    { name: 'v6', listen: `[::1]:${p6}`, backend: v6.address, proxy_protocol: 'v2' },
    { name: 'dual', listen: `[::]:${dual}`, backend: v4.address, proxy_protocol: 'v1' },
    { name: 'star', listen: `*:${star}`, backend: v4.address },
    { name: 'only6', listen: `[::]:${only6}`, v6_only: true, backend: unix.address, proxy_protocol: 'v1' },
    { name: 'unix', listen: `unix:${listenerPath}`, backend: unix.address, proxy_protocol: 'v2' },
    { name: 'named', listen: `127.0.0.1:${named}`, backend: `localhost:${v4.port}` },
    { name: 'two', listen: [`127.0.0.1:${first}`, `[::1]:${second}`], backend: v4.address },
  ],
});
afterAll(() => proxy.stop());

/** A session there and back; gives what a PROXY header told. */
async function exchange(options: RawClientOptions, backend: Backend, header = false): Promise<string> {
  const client = await RawTlsClient.connect(options);
  const server = await backend.next();
  const told = header ? await readProxyHeader(server) : undefined;
  client.sendData('there');
  assert.is((await server.read(5)).toString(), 'there');
  server.finish('and back');
  assert.equal(await client.outcome(), { data: 'and back', alerts: [alert.closeNotify], end: 'fin' });
  client.sendAlert(alert.closeNotify);
  client.peer.finish();
  await server.end;
  const end = told && `:${client.port}`;
  return told === undefined ? '' : `${told.kind} ${told.source.replace(end ?? '', '')} ${told.destination}`;
}

test('IPv6 to IPv6', async () => {
  assert.is(await exchange({ host: '::1', port: p6 ?? 0 }, v6, true), `PROXY TCP6 ::1 ::1:${p6}`);
});
test('[::] takes both; an IPv4 client is told as IPv4', async () => {
  assert.is(await exchange({ host: '127.0.0.1', port: dual ?? 0 }, v4, true), `TCP4 127.0.0.1 127.0.0.1:${dual}`);
  assert.is(await exchange({ host: '::1', port: dual ?? 0 }, v4, true), `TCP6 ::1 ::1:${dual}`);
});
test('* takes both', async () => {
  await exchange({ host: '127.0.0.1', port: star ?? 0 }, v4);
  await exchange({ host: '::1', port: star ?? 0 }, v4);
});
test('v6_only leaves IPv4 out', async () => {
  assert.is(await exchange({ host: '::1', port: only6 ?? 0 }, unix, true), `TCP6 ::1 ::1:${only6}`);
  try {
    await RawTlsClient.connect({ host: '127.0.0.1', port: only6 ?? 0 });
    assert.unreachable();
  } catch (error) {
    assert.is((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  }
});
test('unix to unix', async () => {
  for (const version of ['1.2', '1.3'] as const) {
    assert.match(await exchange({ path: listenerPath, version }, unix, true), /^(PROXY|command 0x20) (UNSPEC|UNIX)/);
  }
});
test('a backend by name', async () => {
  await exchange({ port: named ?? 0 }, v4);
});
test('a listener with two addresses', async () => {
  await exchange({ port: first ?? 0 }, v4);
  await exchange({ host: '::1', port: second ?? 0 }, v4);
});
test('the socket file of the listener is there', () => {
  assert.ok(existsSync(listenerPath));
});
