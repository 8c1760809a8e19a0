// SPDX-License-Identifier: MIT
// What doctor makes of machines with gaps of every kind.
import * as assert from 'uvu/assert';
import type { ListenerConfig } from '../../src/config/config.ts';
import { engineChoices } from '../../src/config/offload.ts';
import { suites } from '../../src/config/suites.ts';
import { chooseEngines, verdicts } from '../../src/doctor/engine-choice.ts';
import type { Facts } from '../../src/doctor/facts.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import { renderReport } from '../../src/doctor/render.ts';
import { makeReport } from '../../src/doctor/report.ts';
import { fullFacts } from '../helpers/doctor-facts.ts';
import * as kernels from '../helpers/kernel-reports.ts';
import { test } from '../helpers/suite.ts';

type Group = keyof Facts['openssl']['groups'];
const container = { ...fullFacts.surroundings, container: true };
const builtWithoutTls = { ...fullFacts.modules, tls: 'absent' } as const;
const files = (hard: number | undefined, rest: object = {}) => ({ files: { ...fullFacts.files, hard, ...rest } });
const pipes = (maxSize: number | undefined, userPagesSoft: number | undefined) => ({
  pipes: { maxSize, userPagesSoft },
});
const kernel = (series: string, patch: number | undefined, probe = kernels.newKernel) => ({
  kernel: { ...fullFacts.kernel, release: `${series}.${patch ?? '0-9-generic'}` },
  upstream: { series, patch },
  probe,
});
const device = (tx: 'on' | 'off' | 'unavailable', rx: 'on' | 'off' | 'unavailable') => ({
  devices: [{ device: 'eth1', error: '', tx, rx }],
});
const openssl = (version: string, linked = version) => ({
  openssl: { ...fullFacts.openssl, builtIn: version, linked },
});
const without = (group: Group) => ({
  openssl: { ...fullFacts.openssl, groups: { ...fullFacts.openssl.groups, [group]: false } },
});
const refusing = kernels.kernelWith(({ cipher }) => (cipher.includes('GCM') ? { rx: 'EPERM' } : {}));

/** What the machine differs in, the finding that tells of it, and what it has to say. */
const gaps: readonly (readonly [Partial<Facts>, string, Finding['status'], RegExp, RegExp?])[] = [
  [kernel('6.1', 176), 'kernel-version', 'warn', /6\.1\.176, below 6\.1\.191.*CVE-2025-38616/, /Update the kernel/],
  [
    kernel('6.1', 176, kernels.kernelWithoutTls('ENOENT')),
    'kernel-version',
    'note',
    /below 6\.1\.191.*does not matter/,
  ],
  [
    kernel('6.12', undefined),
    'kernel-version',
    'note',
    /does not tell the patch level.*6\.12\.117/,
    /security notices/,
  ],
  [kernel('6.6', 9), 'kernel-version', 'warn', /a series without known fixes.*CVE-2026-74611/, /ask your vendor/],
  [kernel('5.15', 9), 'kernel-version', 'warn', /older than 6\.1/, /Linux 6\.1 or newer/],
  [{ upstream: undefined }, 'kernel-version', 'note', /can't be ruled out/, /vendor/],
  [
    { listed: { before: false, after: true } },
    'kernel-tls',
    'warn',
    /only by this very look/,
    /as root: echo tls >> \/etc\/modules-load\.d\//,
  ],
  [
    { probe: kernels.kernelWithoutTls('ENOENT') },
    'kernel-tls',
    'missing',
    /not loaded, and this process may not/,
    /^Run as root: modprobe tls;/,
  ],
  [
    { probe: kernels.kernelWithoutTls('ENOENT'), surroundings: container },
    'kernel-tls',
    'missing',
    /not loaded/,
    /on the host \(a container can't\): modprobe tls;/,
  ],
  [
    {
      probe: kernels.kernelWithoutTls('ENOENT'),
      modules: { ...fullFacts.modules, tls: 'unknown' },
      absentModules: '/lib/modules/1',
    },
    'kernel-tls',
    'missing',
    /not loaded/,
    /^There is no \/lib\/modules\/1: reboot if .*; in a container, modprobe on the host, as root: modprobe tls; echo tls >> /,
  ],
  [
    { probe: kernels.kernelWithoutTls('ENOENT'), modules: builtWithoutTls },
    'kernel-tls',
    'note',
    /built without CONFIG_TLS.*userspace engine does the work/,
    /Nothing has to be done/,
  ],
  [
    { probe: kernels.kernelWithoutTls('EPERM') },
    'kernel-tls',
    'missing',
    /could not be tried: EPERM/,
    /a sandbox that forbids/,
  ],
  [
    { probe: kernels.kernelWithoutTls('ETIMEDOUT'), surroundings: { ...container, loopback: 'ETIMEDOUT' } },
    'kernel-tls',
    'missing',
    /ETIMEDOUT/,
    /Allow connections over the loopback/,
  ],
  [
    { probe: kernels.kernelWithoutChacha },
    'cipher-chacha20poly1305',
    'missing',
    /CHACHA20-POLY1305: the kernel has not got/,
    /modprobe chacha20poly1305/,
  ],
  [
    { probe: kernels.kernelWithoutChacha, modules: { ...fullFacts.modules, chacha20poly1305: 'absent' } },
    'cipher-chacha20poly1305',
    'missing',
    /userspace engine/,
    /CONFIG_CRYPTO_CHACHA20POLY1305/,
  ],
  [{ probe: refusing }, 'cipher-gcm', 'missing', /AES-128-GCM and AES-256-GCM: refused, EPERM/, /kernel's log/],
  [
    { probe: kernels.kernelWithoutRekey },
    'rekey',
    'note',
    /KeyUpdate would end a session.*TLS 1\.3 to userspace/,
    /6\.14/,
  ],
  [
    { probe: kernels.kernelWith(undefined, { spliceWhole: false }) },
    'splice',
    'warn',
    /loses bytes/,
    /6\.1\.189 and 6\.12\.117/,
  ],
  [{ probe: kernels.kernelWith(undefined, { partialPoll: true }) }, 'poll', 'note', /parts of records.*wake-ups/],
  [device('on', 'unavailable'), 'nic-offload', 'note', /send on, receive unavailable.*TLS 1\.2/],
  [
    device('off', 'off'),
    'nic-offload',
    'note',
    /send off/,
    /ethtool -K eth1 tls-hw-tx-offload on tls-hw-rx-offload on/,
  ],
  [{ devices: 'EACCES' }, 'nic-offload', 'note', /EACCES/],
  [
    { devices: [{ device: 'eth1', error: 'EPERM', tx: 'unavailable', rx: 'unavailable' }] },
    'nic-offload',
    'note',
    /eth1 could not be asked: EPERM/,
  ],
  [files(4_096), 'files', 'warn', /^4,096 .*: 1,792 connections/, /LimitNOFILE=.*fs\.nr_open, 1,048,576/],
  [
    files(500_000, { fileMax: 8_192 }),
    'files',
    'warn',
    /8,192 in the whole system.*: 3,840 connections/,
    /sysctl fs\.file-max=20512/,
  ],
  [files(undefined), 'files', 'warn', /\/proc\/self\/limits/, /Mount \/proc/],
  [pipes(1_048_576, 60), 'pipes', 'warn', /too short to splice/, /fs\.pipe-user-pages-soft=1024/],
  [pipes(65_536, 16_384), 'pipes', 'note', /shorter pipes/, /fs\.pipe-max-size=/],
  [pipes(undefined, undefined), 'pipes', 'note', /can not be read/],
  [openssl('3.5.6'), 'openssl-version', 'warn', /3\.5\.6.*3\.5\.7/, /Update Node/],
  [
    openssl('3.5.8', '3.6.0'),
    'openssl-version',
    'warn',
    /3\.6\.0, though Node 26\.10\.0 says 3\.5\.8/,
    /LD_LIBRARY_PATH/,
  ],
  [without('X25519MLKEM768'), 'groups', 'warn', /not X25519MLKEM768/, /OpenSSL 3\.5 or newer/],
  [{ surroundings: { ...container, loopback: 'EACCES' } }, 'loopback', 'warn', /EACCES/, /ip link set lo up/],
];

test('a machine without a gap has nothing to be done', () => {
  const { findings } = makeReport(fullFacts);
  assert.equal(
    findings.map(({ id, status }) => `${id} ${status}`),
    [
      'kernel-version ok',
      'kernel-tls ok',
      'rekey ok',
      'splice ok',
      'poll ok',
      'nic-offload note',
      'files ok',
      'pipes ok',
      'openssl-version ok',
      'groups ok',
      'rights note',
      'loopback ok',
    ],
  );
  assert.ok(findings.every(({ action }) => action === undefined));
});

for (const [change, id, status, says, advises] of gaps) {
  test(`${id}: ${status}, ${says.source}`, () => {
    const found = makeReport({ ...fullFacts, ...change }).findings.find((finding) => finding.id === id);
    assert.is(found?.status, status);
    assert.match(`${found?.text}. ${found?.meaning ?? ''}`, says);
    if (advises !== undefined) assert.match(`${found?.action} ${found?.command ?? ''}`, advises);
    if (status === 'warn' || status === 'missing') assert.ok(found?.meaning && found.action, 'meaning and action');
  });
}

test('bounds: newer OpenSSL, loaded for good, built in, unlimited', () => {
  const status = (change: Partial<Facts>, id: string) =>
    makeReport({ ...fullFacts, ...change }).findings.find((finding) => finding.id === id)?.status;
  for (const version of ['3.5.7', '3.6.0', '4.0.0']) assert.is(status(openssl(version), 'openssl-version'), 'ok');
  const unlisted = {
    listed: { before: false, after: true },
    modules: { ...fullFacts.modules, tls: 'builtin' },
  } as const;
  assert.is(status(unlisted, 'kernel-tls'), 'ok');
  assert.is(status(pipes(1_048_576, 0), 'pipes'), 'ok');
  assert.is(status(files(20_512), 'files'), 'ok');
  assert.is(status(files(20_511), 'files'), 'warn');
  const { limits } = makeReport({ ...fullFacts, ...files(Number.POSITIVE_INFINITY, { fileMax: undefined }) });
  assert.equal([limits.files.hard, limits.files.fileMax, limits.connections], ['unlimited', null, 1_000_000]);
});

test('the verdict is what the configuration makes of a listener with every cipher', () => {
  const oneWay = kernels.kernelWith(({ version, cipher }) =>
    version === '1.2' && cipher === 'AES-128-GCM' ? { rx: 'ENOENT' } : {},
  );
  const machines = [kernels.newKernel, kernels.kernelWithoutRekey, kernels.kernelWithoutChacha, oneWay, refusing];
  const listener = {
    offload: 'auto',
    minVersion: '1.2',
    maxVersion: '1.3',
    ciphers: suites.map(({ name }) => name),
    addresses: ['*:443'],
  } as unknown as ListenerConfig;
  for (const probe of [...machines, kernels.kernelWithoutTls('ENOENT')]) {
    const own = verdicts(chooseEngines(probe)).map(({ version, engine }) => `${version} ${engine}`);
    const config = engineChoices(listener, probe).map(({ version, engine }) => `${version} ${engine}`);
    assert.equal(own.sort(), config.sort());
  }
  assert.is(
    verdicts(chooseEngines(oneWay))[0]?.why,
    'but userspace for AES-128-GCM (receive): the kernel does not take this cipher',
  );
});

test('people read marks, what it means, what to do, and the verdict last', () => {
  const report = makeReport({ ...fullFacts, ...kernel('6.12', 117, kernels.kernelWithoutChacha) });
  const text = renderReport({ ...report, findings: report.findings.slice(0, 3) }, { colour: false, width: 80 });
  assert.is(
    text,
    `ironsocket 1.2.3

Kernel
  ok       version       6.12.117
  ok       kernel TLS    there, the ULP "tls" attaches to a socket
  missing  cipher        CHACHA20-POLY1305: the kernel has not got the algorithm
                         Sessions with CHACHA20-POLY1305 are carried by the
                         userspace engine.
                         help: Run as root:
                         modprobe chacha20poly1305; echo chacha20poly1305 >> /etc/modules-load.d/ironsocket.conf

  the kernel can do   1.2 send receive  1.3 send receive
  AES-128-GCM         ok       ok       ok       ok
  AES-256-GCM         ok       ok       ok       ok
  AES-128-CCM         ok       ok       ok       ok
  CHACHA20-POLY1305   missing  missing  missing  missing

Network devices

Limits

OpenSSL

Surroundings

offload: auto carries TLS 1.2 in the kernel, but userspace for
    CHACHA20-POLY1305: the kernel does not take this cipher
offload: auto carries TLS 1.3 in the kernel, but userspace for
    CHACHA20-POLY1305: the kernel does not take this cipher
`,
  );
});

test('colour changes nothing but colour, and what devices are called can not paint', () => {
  const devices = [{ device: 'e\u001b[31m', error: '', tx: 'on', rx: 'on' }] as const;
  const report = makeReport({ ...fullFacts, devices });
  const plain = renderReport(report, { colour: false, width: 100 });
  const coloured = renderReport(report, { colour: true, width: 100 });
  const esc = String.fromCharCode(27);
  assert.not.ok(plain.includes(esc));
  assert.ok(coloured.includes(`${esc}[32mok${esc}[39m`));
  assert.is(coloured.replaceAll(new RegExp(`${esc}\\[\\d+m`, 'g'), ''), plain);
});
