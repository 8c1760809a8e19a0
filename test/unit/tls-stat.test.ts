// SPDX-License-Identifier: MIT
// /proc/net/tls_stat of several kernels, and of none: what is read, compared, hinted at and shown.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { type StatOptions, type StatOutput, stat } from '../../src/commands/stat.ts';
import type { SystemError } from '../../src/errors.ts';
import type { TlsPlaces } from '../../src/observe/tls-module.ts';
import { parseTlsStat, readTlsStat, TlsHistory, type TlsReading, troublesOf } from '../../src/observe/tls-stat.ts';
import { tlsStatLines } from '../../src/observe/tls-stat-lines.ts';
import { jsonLine, tableLines } from '../../src/observe/tls-stat-text.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const names = [...tlsStatLines.keys()];
const oldNames = names.slice(0, 12);

/** The file as the kernel prints it ("%-32s\t%lu\n"). */
function fileText(values: Record<string, number | string>, all: readonly string[] = names): string {
  const lines = [...new Set([...all, ...Object.keys(values)])];
  return lines.map((name) => `${name.padEnd(32)}\t${values[name] ?? 0}\n`).join('');
}

function reading(values: Record<string, number>, second = 0): TlsReading {
  return { time: new Date(1e12 + second * 1000), namespace: 'net:[1]', ...parseTlsStat(fileText(values)) };
}

/** A machine that has only these files, by their absolute paths, and `text` in /proc/net/tls_stat. */
let machines = 0;
function machine(files: Readonly<Record<string, string | Buffer>>, text?: string): TlsPlaces {
  const root = join(directory, String(machines++));
  mkdirSync(root);
  if (text !== undefined) writeFileSync(join(root, 'tls_stat'), text);
  const read = (path: string): Buffer | undefined => {
    const content = files[path];
    return content === undefined ? undefined : Buffer.from(content);
  };
  return { stat: join(root, 'tls_stat'), namespace: join(root, 'namespace'), read };
}

function refusal(places: TlsPlaces): SystemError {
  try {
    readTlsStat(places);
  } catch (error) {
    return error as SystemError;
  }
  throw new Error('it was read');
}

test('all lines of the newest kernel are known, each by one sentence', () => {
  assert.is(names.length, 17);
  for (const [name, { kind, meaning }] of tlsStatLines) {
    assert.is(kind, name.startsWith('TlsCurr') ? 'gauge' : 'counter', name);
    assert.match(meaning, /^[a-zA-Z][^.\n]{15,79}$/, name);
  }
});

test('known, unknown and unreadable lines are kept apart', () => {
  const { values, strange } = parseTlsStat(`${fileText({ TlsTxSw: 3, TlsFuture: 7 })}TlsHistogram 1 2 3\n`);
  assert.is(values.get('TlsTxSw'), 3);
  assert.is(values.get('TlsFuture'), 7);
  assert.equal(strange, ['TlsHistogram 1 2 3']);
  const lines = tableLines(new TlsHistory().next({ ...reading({}), values, strange }), { changes: false });
  assert.ok(lines.some((line) => /^TlsFuture +7 {2}not known to this version$/.test(line)));
  assert.ok(lines.includes('TlsHistogram 1 2 3  (not known to this version)'));
});

test('a gauge below none is shown as such', () => {
  assert.is(parseTlsStat('TlsCurrTxSw 18446744073709551615\n').values.get('TlsCurrTxSw'), -1);
  assert.is(parseTlsStat('').values.size, 0);
});

test('changes since the last and since the first reading', () => {
  const history = new TlsHistory();
  assert.is(history.next(reading({ TlsTxSw: 5, TlsCurrTxSw: 5 })).sinceLast, undefined);
  history.next(reading({ TlsTxSw: 7, TlsCurrTxSw: 6 }, 2));
  const { sinceLast, sinceStart, restarted } = history.next(reading({ TlsTxSw: 7, TlsCurrTxSw: 1 }, 5));
  assert.equal(
    [sinceLast?.seconds, sinceLast?.values.get('TlsTxSw'), sinceLast?.values.get('TlsCurrTxSw')],
    [3, 0, -5],
  );
  assert.equal(
    [sinceStart?.seconds, sinceStart?.values.get('TlsTxSw'), sinceStart?.values.get('TlsCurrTxSw')],
    [5, 2, -4],
  );
  assert.is(restarted, false);
});

test('a module that was loaded again starts the comparison again', () => {
  const history = new TlsHistory();
  history.next(reading({ TlsTxSw: 5 }));
  const view = history.next(reading({ TlsTxSw: 1 }, 1));
  assert.equal([view.restarted, view.sinceLast, view.sinceStart], [true, undefined, undefined]);
  assert.match(tableLines(view, { changes: true }).join('\n'), 'the module was loaded again');
  assert.is(history.next(reading({ TlsTxSw: 4 }, 2)).sinceStart?.values.get('TlsTxSw'), 3);
});

test('hints: what was ever counted at first, then only what grows', () => {
  const history = new TlsHistory();
  const found = (values: Record<string, number>): (string | number)[][] =>
    troublesOf(history.next(reading(values))).map(({ name, count }) => [name, count]);
  assert.equal(found({ TlsDecryptError: 2, TlsTxSw: 9, TlsDecryptRetry: 3 }), [['TlsDecryptError', 2]]);
  assert.equal(found({ TlsDecryptError: 2, TlsTxSw: 9, TlsDecryptRetry: 3 }), []);
  assert.equal(
    found({
      TlsDecryptError: 6,
      TlsTxSw: 9,
      TlsDecryptRetry: 3,
      TlsRxNoPadViolation: 1,
      TlsTxRekeyError: 1,
      TlsRxRekeyError: 1,
      TlsRxRekeyOk: 3,
      TlsRxRekeyReceived: 5,
    }),
    [
      ['TlsDecryptError', 4],
      ['TlsRxNoPadViolation', 1],
      ['TlsRxRekeyError', 1],
      ['TlsTxRekeyError', 1],
      ['TlsRxRekeyReceived', 2],
    ],
  );
});

test('the table of an old kernel says what that does not count', () => {
  const view = new TlsHistory().next({ ...reading({}), ...parseTlsStat(fileText({ TlsRxSw: 12_345_678 }, oldNames)) });
  const lines = tableLines(view, { changes: false });
  for (const name of oldNames) assert.is(lines.filter((line) => line.startsWith(`${name} `)).length, 1, name);
  assert.ok(lines.some((line) => /^TlsRxSw +12345678 {2}receiving sides/.test(line)));
  assert.ok(lines.includes(`Not counted by this kernel: ${names.slice(12).join(', ')}`));
});

test('JSON holds one reading a line', () => {
  const history = new TlsHistory();
  const [first, second] = [reading({ TlsCurrTxSw: 1, TlsTxSw: 2 }), reading({ TlsTxSw: 4, TlsFuture: 1 }, 2)].map(
    (one) => jsonLine(history.next(one)),
  );
  assert.not.match(first ?? '', /\n|since_/);
  const parsed = JSON.parse(second ?? '');
  assert.is(parsed.counters.TlsTxSw, 4);
  assert.equal(Object.keys(parsed.gauges), names.slice(0, 4));
  assert.equal(parsed.unknown, { TlsFuture: 1 });
  assert.equal([parsed.since_last.seconds, parsed.since_last.TlsCurrTxSw, parsed.since_start.TlsTxSw], [2, -1, 2]);
});

test('without the file, what is known of the reason is told', () => {
  const unset = '# CONFIG_TLS is not set\nCONFIG_TLS_DEVICE=y\n';
  const protocols = '/proc/sys/net/ipv4/tcp_available_ulp';
  const modules = `/lib/modules/${release()}/modules.dep`;
  const cases: readonly (readonly [Parameters<typeof machine>[0], RegExp, RegExp])[] = [
    [
      {},
      /is not loaded, and there is no \/lib\/modules\/\d/,
      /reboot if the kernel was updated; in a container, modprobe on/,
    ],
    [{ [protocols]: 'mptcp\n' }, /is not loaded, and there is no/, /ironsocket doctor/],
    [{ [modules]: '' }, /is not loaded, or it was built without it/, /as root on the host: modprobe tls; echo tls >> /],
    [{ '/proc/config.gz': gzipSync(unset) }, /built without kernel TLS/, /CONFIG_TLS=m/],
    [{ [`/boot/config-${release()}`]: unset }, /built without kernel TLS/, /CONFIG_TLS=m/],
    [{ [modules]: 'kernel/net/tls/tls.ko.xz:\n' }, /the module tls of Linux .* is not loaded/, /modules-load\.d/],
    [{ [protocols]: 'mptcp tls\n' }, /has kernel TLS but does not count it/, /5\.5/],
  ];
  for (const [files, message, hint] of cases) {
    const error = refusal(machine(files));
    assert.equal([error.exitCode, error.code], [71, 'ENOENT']);
    assert.match(error.message, message);
    assert.match(error.hint ?? '', hint);
  }
  assert.match(refusal({ ...machine({}), stat: join(directory, 'none/tls_stat') }).message, /this \/proc has no/);
  const unreadable = refusal({ ...machine({}), stat: directory });
  assert.equal([unreadable.exitCode, unreadable.code], [71, 'EISDIR']);
});

/** Reads a file that changes between readings, and stops after `texts.length` of them. */
async function watched(
  texts: readonly string[],
  options: StatOptions,
  terminal: Partial<StatOutput> = {},
): Promise<string[]> {
  const places = machine({}, texts[0] ?? '');
  const stop = new AbortController();
  const written: string[] = [];
  const write = (text: string): void => {
    written.push(text);
    const next = texts[written.length];
    if (next === undefined) stop.abort();
    else writeFileSync(places.stat, next);
  };
  await stat(options, { ...terminal, write }, stop.signal, places);
  return written;
}

const growing = [
  fileText({}),
  fileText({ TlsTxSw: 1, TlsDecryptError: 1 }),
  fileText({ TlsTxSw: 3, TlsDecryptError: 1 }),
];

test('watching into a pipe writes a block a reading', async () => {
  const blocks = await watched(growing, { json: false, watch: 0.01 });
  assert.is(blocks.length, 3);
  assert.match(blocks[0] ?? '', /^Kernel TLS .*\nTlsTxSw +0 +sending sides/s);
  assert.match(blocks[1] ?? '', /^\nKernel TLS .*\nTlsTxSw +1 +\+1 +\+1 +sending.*\nhint: TlsDecryptError \+1: /s);
  assert.match(blocks[2] ?? '', /\nTlsTxSw +3 +\+2 +\+3 +sending.*\nTlsDecryptError +1 +\+1 +records/s);
  const lines = await watched(growing, { json: true, watch: 0.01 });
  assert.equal(
    lines.map((line) => JSON.parse(line).since_start?.TlsTxSw),
    [undefined, 1, 3],
  );
  assert.is((await watched(growing.slice(0, 1), { json: false, watch: undefined })).length, 1);
});

test('watching on a terminal draws in place, within its size', async () => {
  const clear = new RegExp(`^${'\x1b'}\\[H`);
  for (const [columns, rows] of [
    [80, 24],
    [40, 10],
    [200, 60],
  ] as const) {
    for (const frame of await watched(growing, { json: false, watch: 0.01 }, { isTTY: true, columns, rows })) {
      assert.match(frame, clear);
      assert.ok(frame.endsWith('\x1b[J'));
      const lines = frame.replace(clear, '').slice(0, -3).split('\x1b[K\n').slice(0, -1);
      assert.ok(lines.length < rows, `${lines.length} lines`);
      for (const line of lines) assert.ok(line.length <= columns, line);
      assert.is(
        lines.some((line) => /^\.\.\. \d+ more lines$/.test(line)),
        rows < 30,
      );
    }
  }
});

test('a module that goes while it is watched ends the watching with the reason', async () => {
  const places = machine({}, fileText({}));
  const write = (): void => rmSync(places.stat);
  try {
    await stat({ json: false, watch: 0.01 }, { write }, new AbortController().signal, places);
    assert.unreachable();
  } catch (error) {
    assert.is((error as SystemError).exitCode, 71);
  }
});
