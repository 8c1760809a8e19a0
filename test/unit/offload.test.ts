// SPDX-License-Identifier: MIT
// Which engine sessions get on which kernel, and when `offload: kernel` is refused.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { examine } from '../../src/config/check.ts';
import type { CertificateFiles } from '../../src/config/config.ts';
import { parseConfigArguments } from '../../src/config/flags.ts';
import { loadConfig, readConfig } from '../../src/config/load.ts';
import { engineChoices, engineReasons, losesAtRekey, reasonsOf } from '../../src/config/offload.ts';
import { renderFaults } from '../../src/config/render.ts';
import type { ReadFile } from '../../src/doctor/modules.ts';
import { certificateKey } from '../../src/master/certificates.ts';
import { planFor } from '../../src/master/plan.ts';
import { type KernelReport, native } from '../../src/native.ts';
import * as certificates from '../helpers/certificates.ts';
import { cliPath, nodePath } from '../helpers/installation.ts';
import {
  kernelWith,
  kernelWithoutChacha,
  kernelWithoutRekey,
  kernelWithoutTls,
  newKernel,
} from '../helpers/kernel-reports.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = join(directory, 'c.yaml');
const { cert, key } = certificates.ecdsa;
const basics = ['--listen', '127.0.0.1:65123', '--backend', '127.0.0.1:9', '--cert', cert, '--key', key];

/** `1.2 ENGINE, 1.3 ENGINE (REASON)` */
function engines(kernel: KernelReport | undefined, ...args: string[]): string {
  const config = loadConfig(parseConfigArguments([...basics, ...args]));
  const choices = config.listeners.flatMap((listener) => engineChoices(listener, kernel));
  const text = choices.map(({ version, engine }) => `${version} ${engine}`).join(', ');
  const reason = reasonsOf(choices);
  return reason === undefined ? text : `${text} (${reason})`;
}

test('auto takes the kernel where it can do all that a session may ask for', () => {
  assert.is(engines(newKernel), '1.2 kernel, 1.3 kernel');
  assert.is(engines(kernelWithoutRekey), "1.2 kernel, 1.3 userspace (the kernel can't rekey TLS 1.3)");
  assert.is(engines(kernelWithoutRekey, '--min-version', '1.3'), "1.3 userspace (the kernel can't rekey TLS 1.3)");
  assert.is(
    engines(kernelWithoutChacha),
    '1.2 mixed, 1.3 mixed (the kernel does not take this cipher: CHACHA20-POLY1305)',
    'the other ciphers are carried',
  );
  assert.is(
    engines(kernelWithoutChacha, '--cipher', 'TLS_CHACHA20_POLY1305_SHA256'),
    '1.3 userspace (the kernel does not take this cipher: CHACHA20-POLY1305)',
  );
  assert.is(engines(kernelWithoutTls('ENOENT')), '1.2 userspace, 1.3 userspace (the kernel has no TLS)');
  assert.is(engines(kernelWithoutTls('EPERM')), '1.2 userspace, 1.3 userspace (the kernel has no TLS: EPERM)');
});

test('a cipher that is not offered is not missed', () => {
  const withoutCcm = kernelWith(({ cipher }) => (cipher === 'AES-128-CCM' ? { tx: 'ENOENT', rx: 'ENOENT' } : {}));
  assert.is(engines(withoutCcm), '1.2 kernel, 1.3 kernel', 'the default list has no CCM');
  assert.is(
    engines(withoutCcm, '--cipher', 'TLS_AES_128_CCM_SHA256,TLS_AES_128_GCM_SHA256'),
    '1.3 mixed (the kernel does not take this cipher: AES-128-CCM)',
  );
});

test('a kernel that carries one direction only', () => {
  const sendOnly = kernelWith(() => ({ rx: 'EINVAL' }));
  const ciphers = ['--cipher', 'TLS_AES_128_GCM_SHA256'];
  assert.is(engines(sendOnly, ...ciphers), '1.3 mixed (the kernel does not take this cipher: AES-128-GCM)');
});

test('kernel takes what auto leaves, userspace takes nothing', () => {
  assert.is(engines(kernelWithoutRekey, '--offload', 'kernel'), '1.2 kernel, 1.3 kernel');
  const never = '1.2 userspace, 1.3 userspace (offload is userspace)';
  assert.is(engines(newKernel, '--offload', 'userspace'), never);
  assert.is(engines(undefined, '--offload', 'userspace'), never);
});

test('unix sockets stay in userspace', () => {
  const more = ['--listen', `unix:${directory}/x`];
  assert.is(engines(newKernel, ...more), "1.2 mixed, 1.3 mixed (the client's socket is not TCP)");
  const config = loadConfig(parseConfigArguments([...more, ...basics.slice(2)]));
  assert.equal(
    config.listeners.flatMap((listener) => engineChoices(listener, newKernel)).map(({ engine }) => engine),
    ['userspace', 'userspace'],
  );
});

test('the words are those of the closing lines', () => {
  const source = readFileSync(new URL('../../native/record/offload.cc', import.meta.url), 'utf8');
  const native = [...source.matchAll(/return "([^"]+)";/g)].map(([, text]) => text);
  for (const words of Object.values(engineReasons)) assert.ok(native.includes(words), words);
});

test('who loses sessions at a KeyUpdate: TLS 1.3 with kernel, where it goes to a kernel without rekey', () => {
  const loses = (kernel: KernelReport | undefined, ...args: string[]) =>
    loadConfig(parseConfigArguments([...basics, ...args])).listeners.map((each) => losesAtRekey(each, kernel))[0];
  assert.is(loses(kernelWithoutRekey, '--offload', 'kernel'), true);
  assert.is(loses(kernelWithoutRekey, '--offload', 'kernel', '--max-version', '1.2'), false);
  assert.is(loses(newKernel, '--offload', 'kernel'), false);
  assert.is(loses(kernelWithoutRekey), false);
  assert.is(loses(undefined, '--offload', 'userspace'), false);
});

/** A machine that has only these files, by their paths. */
function machine(files: Readonly<Record<string, string>>): ReadFile {
  return (path) => (files[path] === undefined ? undefined : Buffer.from(files[path]));
}

const lists = `/lib/modules/${release()}/modules`;
/** A kernel with every module, none of them loaded. */
const withModules = machine({
  [`${lists}.dep`]: 'kernel/net/tls/tls.ko:\nkernel/crypto/gcm.ko:\nkernel/crypto/chacha20poly1305.ko:\n',
  [`${lists}.builtin`]: '',
});
const builtWithout = machine({ [`/boot/config-${release()}`]: '# CONFIG_TLS is not set\n' });

function rendered(text: string, kernel: KernelReport, read: ReadFile = withModules): string {
  writeFileSync(file, text);
  const { faults } = examine(readConfig({ file }), { ports: false, starting: true, kernel, read });
  return renderFaults(faults, { colour: false, width: 200 }).replaceAll(directory, 'DIRECTORY');
}

const pair = `{ cert: ${cert}, key: ${key} }`;
const listener = (port: number, more = '') =>
  `  - { listen: "127.0.0.1:${port}", backend: 127.0.0.1:9, certificates: [${pair}]${more} }\n`;

test('offload: kernel without kernel TLS', () => {
  assert.is(
    rendered(`offload: kernel\nlisteners:\n${listener(65123)}${listener(65124)}`, kernelWithoutTls('ENOENT')),
    `DIRECTORY/c.yaml:1:10: the kernel has no TLS: its module is not loaded
    1 | offload: kernel
      |          ^^^^^^
      help: set "offload: auto", or as root on the host: modprobe tls; echo tls >> /etc/modules-load.d/ironsocket.conf
`,
  );
  assert.match(
    rendered(`offload: kernel\nlisteners:\n${listener(65123)}`, kernelWithoutTls('EPERM')),
    `DIRECTORY/c.yaml:1:10: the kernel has no TLS: EPERM`,
  );
});

test('why the kernel has no TLS, and what to do about it', () => {
  const text = (read: ReadFile) =>
    rendered(`offload: kernel\nlisteners:\n${listener(65123)}`, kernelWithoutTls('ENOENT'), read);
  const without = text(builtWithout);
  assert.match(without, 'the kernel has no TLS: it is built without CONFIG_TLS\n');
  assert.match(without, 'help: set "offload: auto", or run another kernel; "ironsocket doctor"');
  assert.not.match(without, 'modprobe');
  const updated = text(machine({}));
  assert.ok(updated.includes(`its module is not loaded, and there is no /lib/modules/${release()}\n`), updated);
  assert.match(
    updated,
    'or reboot if the kernel was updated; in a container, modprobe on the host: modprobe tls; echo',
  );
});

test('the fault stands where kernel is said', () => {
  const text = `listeners:\n${listener(65123)}  - offload: kernel\n${listener(65124).replace('  - { ', '    ').replace(' }\n', '\n').replaceAll(', backend', '\n    backend').replace(', certificates', '\n    certificates')}`;
  const [first, , caret] = rendered(text, kernelWithoutTls('ENOENT')).split('\n');
  assert.match(first ?? '', 'DIRECTORY/c.yaml:3:14: the kernel has no TLS');
  assert.is(caret, '      |              ^^^^^^');
  const flags = readConfig(parseConfigArguments([...basics, '--offload', 'kernel']));
  const { faults } = examine(flags, { ports: false, starting: true, kernel: kernelWithoutTls('ENOENT') });
  assert.equal(
    faults.map(({ flag }) => flag),
    ['--offload'],
  );
  assert.match(faults[0]?.hint ?? '', /^set "--offload auto"/);
  const demo = readConfig(parseConfigArguments(['--demo', '--offload', 'kernel']));
  const refused = examine(demo, { ports: false, starting: true, kernel: kernelWithoutTls('ENOENT') }).faults;
  assert.equal(
    refused.map(({ flag }) => flag),
    ['--offload'],
    'the demo is no exception',
  );
});

test('offload: kernel with ciphers that the kernel has not got', () => {
  assert.is(
    rendered(`offload: kernel\nlisteners:\n${listener(65123)}`, kernelWithoutChacha),
    `DIRECTORY/c.yaml:1:10: the kernel does not take this cipher: CHACHA20-POLY1305 with TLS 1.2 and 1.3 (ENOENT)
    1 | offload: kernel
      |          ^^^^^^
      help: leave the cipher out, or set "offload: auto", or as root on the host: modprobe chacha20poly1305; echo chacha20poly1305 >> /etc/modules-load.d/ironsocket.conf
`,
  );
  const absent = machine({ [`${lists}.dep`]: '', [`${lists}.builtin`]: '' });
  const without = rendered(`offload: kernel\nlisteners:\n${listener(65123)}`, kernelWithoutChacha, absent);
  assert.match(without, 'or set "offload: auto"; "ironsocket doctor"');
  assert.not.match(without, 'modprobe');
  const tls = 'tls: { ciphers: [TLS_AES_128_GCM_SHA256] }\n';
  assert.is(rendered(`offload: kernel\n${tls}listeners:\n${listener(65123)}`, kernelWithoutChacha), '');
  const receiveOnly = kernelWith(({ cipher }) => (cipher === 'AES-256-GCM' ? { tx: 'EINVAL' } : {}));
  assert.match(
    rendered(`offload: kernel\nlisteners:\n${listener(65123)}`, receiveOnly),
    'does not take this cipher: AES-256-GCM with TLS 1.2 and 1.3 to clients (EINVAL)\n',
  );
});

test('a kernel without rekey is told for each listener, and is no reason not to start', () => {
  const said = ', offload: kernel';
  const text = rendered(
    `listeners:\n${listener(65123, said)}${listener(65124, said)}${listener(65125)}`,
    kernelWithoutRekey,
  );
  const warnings = [...text.matchAll(/^.*warning: (.*)$/gm)].map(([, message]) => message);
  const words = "the kernel can't rekey TLS 1.3: a client's KeyUpdate ends its session";
  assert.equal(warnings, [`${words} (127.0.0.1:65123)`, `${words} (127.0.0.1:65124)`]);
  assert.match(text, 'help: Linux 6.14 can; with "offload: auto" TLS 1.3 stays in userspace until then\n');
  const top = rendered(
    `offload: kernel\nlisteners:\n${listener(65123)}${listener(65124, ', name: web')}${listener(65125, ', tls: { max_version: "1.2" }')}`,
    kernelWithoutRekey,
  );
  assert.ok(top.includes(`warning: ${words} (127.0.0.1:65123, web)\n`), top);
  const old = 'tls: { max_version: "1.2" }\n';
  assert.is(rendered(`offload: kernel\n${old}listeners:\n${listener(65123)}`, kernelWithoutRekey), '');
});

test('auto and userspace ask for nothing', () => {
  const none = kernelWithoutTls('ENOENT');
  for (const mode of ['auto', 'userspace'])
    assert.is(rendered(`offload: ${mode}\nlisteners:\n${listener(65123)}`, none), '', mode);
  assert.is(rendered(`offload: kernel\nlisteners:\n${listener(65123, ', offload: auto')}`, none), '');
});

test('a kernel that nobody wants is not asked', () => {
  const asked = (starting: boolean, ...args: string[]) => {
    const reading = readConfig(parseConfigArguments([...basics, ...args]));
    return examine(reading, { ports: false, starting, kernel: newKernel }).kernel !== undefined;
  };
  assert.is(asked(true), false, 'auto, to start');
  assert.is(asked(false), true, 'auto, for the summary');
  assert.is(asked(true, '--offload', 'kernel'), true);
  assert.is(asked(false, '--offload', 'userspace'), false);
});

test('a unix socket can not be offloaded', () => {
  assert.is(
    rendered(
      `offload: kernel\nlisteners:\n  - listen: ["127.0.0.1:65123", "unix:${directory}/s"]\n    backend: 127.0.0.1:9\n    certificates: [${pair}]\n`,
      newKernel,
    ),
    `DIRECTORY/c.yaml:3:33: a unix socket has no kernel TLS, which "offload: kernel" asks for
    3 |   - listen: ["127.0.0.1:65123", "unix:DIRECTORY/s"]
      |                                 ${'^'.repeat(`"unix:${directory}/s"`.length)}
      help: give this listener "offload: auto", or listen on HOST:PORT
`,
  );
});

test('a unix socket of systemd can not be offloaded either', () => {
  const check = (address: string) => {
    const fd = native.listen({ address, backlog: 1, v6Only: false });
    const args = ['check', '--listen', 'systemd:web', ...basics.slice(2), '--offload', 'kernel'];
    const { stderr } = spawnSync('sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', nodePath, cliPath, ...args], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      env: { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'web' },
      encoding: 'utf8',
    });
    native.closeFd({ fd });
    return stderr;
  };
  assert.match(check(`unix:${directory}/systemd.sock`), /^--listen: a unix socket has no kernel TLS/);
  assert.match(check(`unix:${directory}/other.sock`), 'which "--offload kernel" asks for');
  assert.not.match(check('127.0.0.1:0'), 'unix');
});

test('the plan of a worker says what each listener wants', () => {
  const text = `offload_after: 64KiB\nlisteners:\n${listener(65123, ', offload: userspace')}${listener(65124)}`;
  writeFileSync(file, text);
  const config = { ...loadConfig({ file }), kernelDirections: 'tx' } as const;
  const listeners = config.listeners.map((each, index) => {
    return { config: each, heldName: '', fd: 10 + index, address: '' };
  });
  const files = config.listeners[0]?.certificates[0] as CertificateFiles;
  const certificate = { files, serial: 1, chainFd: 20, keyFd: 21, fingerprints: '' };
  const loaded = new Map([[certificateKey(files), certificate]]);
  const setup = { config, identity: undefined, listeners, certificates: loaded, passed: new Map() };
  const worker = planFor(1, { setup, revision: 1, ticketKeysFd: -1, accepting: true, logFd: 1 });
  assert.equal(
    worker.plan.listeners.map(({ offload, offloadAfter }) => ({ offload, offloadAfter })),
    [
      { offload: 'userspace', offloadAfter: 65_536 },
      { offload: 'auto', offloadAfter: 65_536 },
    ],
  );
  assert.is(worker.kernelDirections, 'tx');
});
