// SPDX-License-Identifier: MIT
// What a reload says it changes.
import * as assert from 'uvu/assert';
import { reloadText } from '../../src/commands/reload.ts';
import type { Config } from '../../src/config/config.ts';
import { parseConfigArguments } from '../../src/config/flags.ts';
import { loadConfig } from '../../src/config/load.ts';
import { changedText, changesOf, isEmpty } from '../../src/master/changes.ts';
import { test } from '../helpers/suite.ts';

const basics = ['--listen', '127.0.0.1:8443', '--backend', 'app:80', '--cert', 'a.pem', '--key', 'a.key'];

function config(...args: string[]): Config {
  return loadConfig(parseConfigArguments([...basics, '--name', 'web', ...args]));
}

/** The same with another list of listeners by name. */
function named(...names: string[]): Config {
  const { listeners, ...rest } = config();
  return { ...rest, listeners: names.flatMap((name) => listeners.map((each) => ({ ...each, name }))) };
}

test('the same is no change', () => {
  assert.ok(isEmpty(changesOf(config(), config(), [])));
  assert.not(isEmpty(changesOf(config(), config(), [{ cert: 'a.pem', key: 'a.key' }])));
});

test('listeners come and go by name, in whatever order', () => {
  const { added, removed, changed } = changesOf(named('a', 'b', 'c'), named('d', 'c', 'a'), []);
  assert.equal({ added, removed, changed }, { added: ['d'], removed: ['b'], changed: [] });
});

test('every key of a listener is called as in the file', () => {
  const flags = [
    ['--proxy-protocol', 'v2', 'proxy_protocol'],
    ['--alpn', 'h2', 'tls.alpn'],
    ['--min-version', '1.3', 'tls.min_version'],
    ['--max-version', '1.2', 'tls.max_version'],
    ['--cipher', 'TLS_AES_128_GCM_SHA256', 'tls.ciphers'],
    ['--offload', 'userspace', 'offload'],
    ['--offload-after', '1KiB', 'offload_after'],
    ['--handshake-timeout', '3s', 'timeouts.handshake'],
    ['--connect-timeout', '3s', 'timeouts.connect'],
    ['--idle-timeout', '3s', 'timeouts.idle'],
    ['--half-closed-timeout', '3s', 'timeouts.half_closed'],
    ['--listen', '[::1]:8443', 'listen'],
  ] as const;
  for (const [flag, value, key] of flags) {
    assert.is(changedText(changesOf(config(), config(flag, value), [])), `web (${key})`);
  }
});

test('what holds at once and what from the next start on', () => {
  const now = [
    ['--max-connections', '7', 'max_connections'],
    ['--log-level', 'warn', 'log.level'],
    ['--log-file', 'stderr', 'log.file'],
    ['--drain-timeout', '1s', 'timeouts.drain'],
  ] as const;
  const later = [
    ['--user', 'root', 'user'],
    ['--handshake-threads', '77', 'threads.handshake'],
    ['--relay-threads', '77', 'threads.relay'],
    ['--control', '/run/x.sock', 'control'],
  ] as const;
  for (const [flag, value, key] of now) assert.equal(changesOf(config(), config(flag, value), []).settings, [key]);
  for (const [flag, value, key] of later) assert.equal(changesOf(config(), config(flag, value), []).later, [key]);
});

test('as the command prints it', () => {
  const after = config('--idle-timeout', '3s', '--log-level', 'warn', '--user', 'root');
  const changes = changesOf(named('web', 'old'), after, [{ cert: '/a.pem', key: '/a.key' }]);
  assert.is(
    reloadText(changes),
    `reloaded
  listener removed: old
  listener changed: web (timeouts.idle)
  changed: log.level
  from the next start on: user
  certificate renewed: /a.pem
`,
  );
  assert.is(reloadText(changesOf(config(), config(), [])), 'reloaded, nothing has changed\n');
});
