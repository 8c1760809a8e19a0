// SPDX-License-Identifier: MIT
// The command line as a process: what it prints where, and its exit codes.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import * as certificates from '../helpers/certificates.ts';
import { afterAll, test } from '../helpers/suite.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-unit-'));
afterAll(() => rmSync(directory, { recursive: true }));
const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const packageFile = new URL('../../package.json', import.meta.url);

function ironsocket(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { FORCE_COLOR: _, ...inherited } = process.env;
  const env = { ...inherited, NO_COLOR: '1' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], {
    cwd: directory,
    encoding: 'utf8',
    env,
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

test('help tells a newcomer what to type', () => {
  for (const args of [['--help'], ['-h'], ['help']]) {
    const { status, stdout } = ironsocket(...args);
    assert.is(status, 0);
    for (const word of ['Usage: ironsocket', 'run', 'check', 'version', 'Examples:', 'ironsocket run --demo'])
      assert.ok(stdout.includes(word), word);
    assert.ok(
      stdout.split('\n').every((line) => line.length <= 100),
      'fits into a terminal',
    );
  }
  const { status, stdout } = ironsocket('run', '--help');
  assert.is(status, 0);
  for (const word of ['--config <FILE>', '--listen <ADDRESS>', '--demo', 'Examples:'])
    assert.ok(stdout.includes(word), word);
});

test('what makes no sense exits with 64 and a suggestion', () => {
  const none = ironsocket();
  assert.is(none.status, 64);
  assert.match(none.stderr, 'Usage: ironsocket');
  const command = ironsocket('chekc');
  assert.equal(command, { status: 64, stdout: '', stderr: "error: unknown command 'chekc'\n(Did you mean check?)\n" });
  const option = ironsocket('check', '--lisen', 'x');
  assert.equal(option, {
    status: 64,
    stdout: '',
    stderr: "error: unknown option '--lisen'\n(Did you mean --listen?)\n",
  });
  const nothing = ironsocket('check');
  assert.equal(nothing, {
    status: 64,
    stdout: '',
    stderr:
      'ironsocket: there is no configuration\n      help: give -c FILE, or --listen, --backend, --cert and --key, or try --demo\n',
  });
});

test('version names all that matters', () => {
  const { status, stdout } = ironsocket('version');
  assert.is(status, 0);
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8'));
  assert.is(
    stdout,
    `ironsocket        ${version}\nnode              ${process.versions.node}\nopenssl           ${process.versions.openssl}\nkernel            ${release()}\ncontrol protocol  1\n`,
  );
  assert.equal(ironsocket('--version'), { status: 0, stdout: `${version}\n`, stderr: '' });
});

test('check prints faults with their place and exits with 78', () => {
  writeFileSync(
    join(directory, 'bad.yaml'),
    'listeners:\n  - listen: "*:65123"\n    backnd: 127.0.0.1:8080\n    certificates: [{ cert: a, key: b }]\n',
  );
  assert.equal(ironsocket('check', '-c', 'bad.yaml'), {
    status: 78,
    stdout: '',
    stderr: `bad.yaml:3:5: unknown key "backnd"
    3 |     backnd: 127.0.0.1:8080
      |     ^^^^^^
      help: did you mean "backend"?

bad.yaml:4:28: there is no file ${directory}/a
    4 |     certificates: [{ cert: a, key: b }]
      |                            ^
      help: relative paths start at the directory of the configuration file

bad.yaml:4:36: there is no file ${directory}/b
    4 |     certificates: [{ cert: a, key: b }]
      |                                    ^
      help: relative paths start at the directory of the configuration file

3 faults
`,
  });
  const { status, stderr } = ironsocket('check', '-c', 'bad.yaml', '--debug');
  assert.is(status, 78);
  assert.match(stderr, /\n {4}at /);
  assert.equal(
    ironsocket('check', '-c', 'none.yaml').stderr,
    'none.yaml: there is no such file\n      help: name another with -c FILE\n\n1 fault\n',
  );
});

test('check prints a summary and exits with 0', () => {
  const { cert, key } = certificates.ecdsa;
  writeFileSync(
    join(directory, 'good.yaml'),
    `listeners:\n  - { name: web, listen: "127.0.0.1:65124", backend: "app:80", certificates: [{ cert: ${cert}, key: ${key} }] }\n`,
  );
  const { status, stdout, stderr } = ironsocket('check', '-c', 'good.yaml');
  assert.equal({ status, stderr }, { status: 0, stderr: '' });
  assert.match(
    stdout,
    /^good\.yaml: OK\n\n {2}web: 127\.0\.0\.1:65124 -> app:80\n {4}TLS 1\.2 and 1\.3\n {4}offload auto: TLS 1\.2 \w+, TLS 1\.3 \w+.*\n {4}certificate localhost, example\.test \(EC P-256\), expires /,
  );
  const flags = ironsocket('check', '--listen', '127.0.0.1:65124', '--backend', 'app:80', '--cert', cert, '--key', key);
  assert.is(flags.status, 0);
  assert.match(flags.stdout, /^the command line: OK\n/);
  const demo = ironsocket('check', '--demo');
  assert.is(demo.status, 0);
  assert.match(demo.stdout, 'demo: 127.0.0.1:8443 -> a page of its own');
});

test('run tells faults before anything starts', () => {
  const { status, stdout, stderr } = ironsocket('run', '-c', 'bad.yaml');
  assert.equal({ status, stdout }, { status: 78, stdout: '' });
  assert.match(stderr, 'bad.yaml:3:5: unknown key "backnd"');
});

test('docs/configuration.md and the JSON schema are those of the code', () => {
  const script = fileURLToPath(new URL('../../scripts/generate.ts', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal({ status, stderr }, { status: 0, stderr: '' });
});

test('output that can not be written is told, and a reader that goes is none', () => {
  for (const args of ['doctor --json', 'check --demo']) {
    const to = (file: string) => {
      const script = `"${process.execPath}" "${cli}" ${args} ${file}`;
      return spawnSync('bash', ['-o', 'pipefail', '-c', script], { encoding: 'utf8', timeout: 60_000 });
    };
    const full = to('> /dev/full');
    assert.equal(
      [full.status, full.stderr],
      [74, "ironsocket: the output can't be written: ENOSPC: no space left on device, write\n"],
      args,
    );
    const gone = to('| true');
    assert.equal([gone.status, gone.stderr], [0, ''], args);
  }
});
