// SPDX-License-Identifier: MIT
// What doctor reads out of files, and what it makes of the number of a kernel.
import { gzipSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { fileLimits, surroundings } from '../../src/doctor/facts.ts';
import { judgeKernel, kernelFaults, kernelFloors, upstreamVersion } from '../../src/doctor/kernel-version.ts';
import { moduleStates, type ReadFile } from '../../src/doctor/modules.ts';
import { test } from '../helpers/suite.ts';

const files =
  (contents: Readonly<Record<string, string | Buffer>>): ReadFile =>
  (path) =>
    contents[path] === undefined ? undefined : Buffer.from(contents[path]);
const nothing = files({});

test('upstream numbers are read where each vendor tells them', () => {
  const number = (release: string, version = '', signature?: string) =>
    upstreamVersion({ release, version, signature });
  assert.equal(number('6.1.176'), { series: '6.1', patch: 176 });
  assert.equal(number('6.18.44-fc-v669'), { series: '6.18', patch: 44 });
  assert.equal(number('7.2'), { series: '7.2', patch: 0 });
  assert.equal(number('6.1.0-49-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-05-02)'), {
    series: '6.1',
    patch: 176,
  });
  assert.equal(number('6.8.0-45-generic', '#45-Ubuntu SMP', 'Ubuntu 6.8.0-45.45-generic 6.8.12'), {
    series: '6.8',
    patch: 12,
  });
  assert.equal(number('6.8.0-45-generic', '#45-Ubuntu SMP'), { series: '6.8', patch: undefined });
  assert.equal(number('5.14.0-503.el9.x86_64'), { series: '5.14', patch: undefined });
  assert.is(number('something else'), undefined);
});

test('a number below the floor of its series has the faults that were fixed since', () => {
  const judge = (series: string, patch: number | undefined) => judgeKernel({ series, patch });
  for (const [series, floor] of Object.entries(kernelFloors)) {
    assert.equal(judge(series, floor), { kind: 'fine' });
    const below = judge(series, floor - 1);
    assert.is(below.kind, 'below', series);
    assert.ok(below.kind === 'below' && below.faults.length > 0, `${series}: at least the last fault is named`);
  }
  const names = (patch: number) => {
    const found = judge('6.12', patch);
    return found.kind === 'below' ? found.faults.map(({ id }) => id) : [];
  };
  assert.equal(names(116), ['lost splice']);
  assert.equal(names(79), ['CVE-2026-23414', 'CVE-2026-52974', 'lost error', 'lost splice']);
  assert.ok(names(0).includes('CVE-2025-39682'));
  assert.equal(judge('6.12', undefined), { kind: 'untold', floor: '6.12.117' });
  assert.equal(judge('6.8', undefined), { kind: 'untold', floor: undefined });
  assert.equal(judge('6.6', 140), { kind: 'unlisted' });
  assert.equal(judge('7.0', 9), { kind: 'unlisted' });
  assert.equal(judge('7.10', 0), { kind: 'fine' });
  assert.equal(judge('5.15', 200), { kind: 'old' });
});

test('no fault is fixed above the floor of its series', () => {
  for (const { id, fixed } of kernelFaults)
    for (const [series, patch] of Object.entries(fixed)) assert.ok(patch <= (kernelFloors[series] ?? 0), id);
});

test('modules are found in the lists of modules or in the configuration of the kernel', () => {
  const states = (contents: Readonly<Record<string, string | Buffer>>) => moduleStates(files(contents), '6.1.0');
  const lists = {
    '/lib/modules/6.1.0/modules.builtin': 'kernel/crypto/gcm.ko\nkernel/net/unix/unix.ko\n',
    '/lib/modules/6.1.0/modules.dep': 'kernel/net/tls/tls.ko.xz: kernel/crypto/aead.ko.xz\nkernel/crypto/ccm.ko:\n',
  };
  assert.equal(states(lists), { tls: 'file', gcm: 'builtin', ccm: 'file', chacha20poly1305: 'absent' });
  const config = '# CONFIG_TLS is not set\nCONFIG_TLS_TOE=y\nCONFIG_CRYPTO_GCM=y\nCONFIG_CRYPTO_CCM=m\n';
  const configured = { tls: 'absent', gcm: 'builtin', ccm: 'unknown', chacha20poly1305: 'absent' };
  assert.equal(states({ '/proc/config.gz': gzipSync(config) }), configured);
  assert.equal(states({ '/boot/config-6.1.0': config }), configured);
  const unknown = { tls: 'unknown', gcm: 'unknown', ccm: 'unknown', chacha20poly1305: 'unknown' };
  assert.equal(states({}), unknown);
  assert.equal(states({ '/proc/config.gz': 'no gzip' }), unknown);
  assert.equal(states({ '/boot/config-6.2.0': config }), unknown, "another kernel's");
});

test('limits of files', () => {
  const limits = (line: string) =>
    `Limit  Soft  Hard  Units\nMax open files            ${line}      files\nMax locked 1 2 3\n`;
  assert.equal(fileLimits(files({ '/proc/self/limits': limits('1024 524288'), '/proc/sys/fs/nr_open': '1048576\n' })), {
    soft: 1024,
    hard: 524_288,
    nrOpen: 1_048_576,
    fileMax: undefined,
  });
  assert.is(fileLimits(files({ '/proc/self/limits': limits('1 unlimited') })).hard, Number.POSITIVE_INFINITY);
  assert.equal(fileLimits(nothing), { soft: undefined, hard: undefined, nrOpen: undefined, fileMax: undefined });
});

test('rights count only in the first user namespace', () => {
  const read = (capabilities: string, map: string) =>
    surroundings(
      files({
        '/proc/self/status': `Name:\tnode\nCapEff:\t${capabilities}\nSeccomp:\t2\n`,
        '/proc/self/uid_map': map,
      }),
    );
  const first = '         0          0 4294967295\n';
  assert.is(read('000001ffffffffff', first).mayLoadTls, true);
  assert.is(read('0000000000001000', first).mayLoadTls, true);
  assert.is(read('00000000a80425fb', first).mayLoadTls, false, 'what Docker gives');
  assert.is(read('000001ffffffffff', '0 100000 65536\n').mayLoadTls, false);
  assert.is(read('0000000000000000', first).seccomp, true);
  assert.equal([surroundings(nothing).mayLoadTls, surroundings(nothing).seccomp], [undefined, undefined]);
});
