// SPDX-License-Identifier: MIT
// `ironsocket stat` with this machine's own kernel. With kernel TLS it is the table of /proc/net/tls_stat; without, one sentence.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import * as assert from 'uvu/assert';
import { cliPath, nodePath } from '../helpers/installation.ts';
import { test } from '../helpers/suite.ts';

type Process = ChildProcessByStdio<Writable, Readable, Readable>;

const file = '/proc/net/tls_stat';
// A kernel booted inside this one is slow beside other work.
const deadline = 60_000;
const isRoot = process.geteuid?.() === 0;

function start(args: readonly string[], options: { readonly uid?: number; readonly gid?: number } = {}): Process {
  const env = { ...process.env, NO_COLOR: '1' };
  return spawn(nodePath, [cliPath, 'stat', ...args], { ...options, stdio: ['pipe', 'pipe', 'pipe'], env });
}

async function outcome(child: Process): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  return { code, stdout, stderr };
}

/** The kernel's own names, in its order. */
function kernelNames(): string[] {
  return readFileSync(file, 'latin1')
    .split('\n')
    .flatMap((line) => line.split(/\s+/)[0] || []);
}

/** A connection within one process whose one side the kernel encrypts and whose other side it decrypts, until its stdin ends. */
const session = `
import socket, struct, sys
listener = socket.create_server(('127.0.0.1', 0))
one = socket.create_connection(listener.getsockname())
other, _ = listener.accept()
keys = struct.pack('=HH', 0x303, 51) + bytes(36)  # TLS 1.2, AES-128-GCM
for end in (one, other): end.setsockopt(socket.SOL_TCP, 31, b'tls')
one.setsockopt(282, 1, keys)
other.setsockopt(282, 2, keys)
sys.stdin.read()
`;

function whereTheKernelCounts(): void {
  for (const args of [[], ['--json']]) {
    test(
      `stat ${args.join(' ')}: every line of the kernel, also without rights`,
      async () => {
        for (const user of isRoot ? [{}, { uid: 65534, gid: 65534 }] : [{}]) {
          const { code, stdout, stderr } = await outcome(start(args, user));
          assert.equal([code, stderr], [0, '']);
          const { gauges, counters, unknown } = args.length === 0 ? tableNames(stdout) : JSON.parse(stdout);
          assert.equal([...Object.keys(gauges), ...Object.keys(counters)], kernelNames());
          assert.equal(unknown, {});
        }
      },
      { deadline },
    );
  }

  test(
    'stat --watch --json: a connection comes and goes',
    async (t) => {
      const watch = start(['--watch', '0.1', '--json']);
      t.after(() => watch.kill('SIGKILL'));
      const lines = createInterface(watch.stdout)[Symbol.asyncIterator]();
      const next = async () => JSON.parse((await lines.next()).value ?? '');
      const before = (await next()).gauges.TlsCurrTxSw;
      const python = spawn('python3', ['-c', session], { stdio: ['pipe', 'inherit', 'inherit'] });
      t.after(() => python.kill('SIGKILL'));
      let line = await next();
      while (line.gauges.TlsCurrTxSw === before || line.gauges.TlsCurrRxSw === 0) line = await next();
      assert.is(line.since_start.TlsCurrTxSw, 1);
      assert.ok(line.since_start.TlsTxSw >= 1 && line.since_start.TlsRxSw >= 1);
      python.stdin.end();
      while (line.gauges.TlsCurrTxSw !== before) line = await next();
      assert.ok(line.since_last.TlsCurrTxSw === -1 && line.since_start.TlsTxSw >= 1);
      const exited = once(watch, 'exit');
      watch.kill('SIGTERM');
      assert.equal(await exited, [0, null]);
    },
    { deadline },
  );

  test(
    'stat --watch: ends in order when nobody reads',
    async () => {
      const watch = start(['--watch', '0.1']);
      const exited = once(watch, 'exit');
      await once(watch.stdout, 'data');
      watch.stdout.destroy();
      assert.equal(await exited, [0, null]);
      assert.is(await text(watch.stderr), '');
    },
    { deadline },
  );

  test(
    'stat --watch: on a terminal, in place until Ctrl-C',
    async (t) => {
      const command = `stty rows 30 cols 100; exec ${nodePath} ${cliPath} stat --watch 0.1`;
      const terminal = spawn('script', ['-qefc', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
      t.after(() => terminal.kill('SIGKILL'));
      const exited = once(terminal, 'exit');
      let shown = '';
      terminal.stdout.setEncoding('utf8');
      while (shown.split('\x1b[H').length <= 3) shown += (await once(terminal.stdout, 'data'))[0];
      terminal.stdin.write('\x03');
      terminal.stdout.resume();
      assert.equal(await exited, [0, null]);
      assert.match(shown, 'TlsCurrTxSw');
    },
    { deadline },
  );
}

/** The table as if it were JSON. */
function tableNames(table: string): Record<'gauges' | 'counters' | 'unknown', Record<string, number>> {
  const rows = [...table.matchAll(/^(Tls\w+) +(-?\d+) {2}(.+)$/gm)].map(([, name = '', value, meaning]) => {
    return { name, value: Number(value), known: meaning !== 'not known to this version' };
  });
  const part = (keep: (row: (typeof rows)[number]) => boolean) =>
    Object.fromEntries(rows.filter(keep).map(({ name, value }) => [name, value]));
  return {
    gauges: part(({ name, known }) => known && name.startsWith('TlsCurr')),
    counters: part(({ name, known }) => known && !name.startsWith('TlsCurr')),
    unknown: part(({ known }) => !known),
  };
}

function whereItDoesNot(): void {
  for (const args of [[], ['--json'], ['--watch'], ['--watch', '1', '--json']]) {
    test(`stat ${args.join(' ')}: a sentence, what to do, and 71`, async () => {
      const { code, stdout, stderr } = await outcome(start(args));
      assert.equal([code, stdout], [71, '']);
      assert.match(
        stderr,
        /^ironsocket: (Linux \S+ was built without kernel TLS|the module tls of Linux \S+ is not loaded|Linux \S+ has no kernel TLS: ).*\n {6}help: .*"ironsocket doctor".*\n$/,
      );
    });
  }
}

if (existsSync(file)) whereTheKernelCounts();
else whereItDoesNot();

test('stat --watch: an interval that is none', async () => {
  for (const interval of ['0', '1e9']) {
    const { code, stdout, stderr } = await outcome(start([`--watch=${interval}`]));
    assert.equal([code, stdout], [64, '']);
    assert.match(stderr, `"${interval}" is no interval for --watch`);
  }
});
