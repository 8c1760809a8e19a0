// SPDX-License-Identifier: MIT
// Builds ironsocket, each part only when its sources are newer than the last build: the addon and the keeper with node-gyp,
// then TypeScript with tsc. In a checkout the Node of the `node` package does it; with `--addon` (npm's `install` script) the
// addon alone is built, for the Node that runs this. Plain JavaScript, because the Node at hand may be an old one.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const packaged = join(root, 'node_modules/node/node_modules', `node-linux-${process.arch}`);
const inCheckout = existsSync(join(packaged, 'bin/node'));
const node = inCheckout ? join(packaged, 'bin/node') : process.execPath;

buildAddon();
if (!process.argv.includes('--addon')) buildTypeScript();

function buildAddon() {
  const facts = JSON.parse(
    ask('JSON.stringify([process.version, process.versions.openssl, process.config.variables.node_shared_openssl])'),
  );
  const [version, openssl, shared] = facts;
  if (Number.parseInt(version.slice(1), 10) < 24 || isOlder(openssl, [3, 5]) || shared) {
    fail(
      `ironsocket needs Node 24 or newer that carries OpenSSL 3.5 or newer; this is Node ${version} with ${shared ? 'the system’s ' : ''}OpenSSL ${openssl}`,
    );
  }
  const stamp = join(root, 'build/built');
  const wanted = `${version} ${openssl}\n`;
  const sources = ['native', 'binding.gyp', 'package.json'];
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted && !isStale(stamp, sources)) return;

  console.log(`building the addon for Node ${version}`);
  // node-gyp takes npm_config_* for its own options and lets them win over its command line.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('npm_config_')),
  );
  const headers = dirname(dirname(node));
  const nodedir = existsSync(join(headers, 'include/node/node_api.h')) ? [`--nodedir=${headers}`] : [];
  const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  run([gyp, 'configure', 'build', '--loglevel=warn', `--jobs=${availableParallelism()}`, ...nodedir], environment);
  writeFileSync(stamp, wanted);
}

function buildTypeScript() {
  const stamp = join(root, 'dist/built');
  if (existsSync(stamp) && !isStale(stamp, ['src', 'tsconfig.json', 'package-lock.json'])) return;
  console.log('compiling TypeScript');
  run([join(root, 'node_modules/typescript/bin/tsc'), '-p', root], process.env);
  writeFileSync(stamp, '');
}

function ask(expression) {
  return execFileSync(node, ['-p', expression], { encoding: 'utf8' });
}

function run(args, env) {
  try {
    execFileSync(node, args, { cwd: root, env, stdio: 'inherit' });
  } catch {
    fail(`the build failed: ${args[0]}`);
  }
}

function fail(sentence) {
  console.error(sentence);
  process.exit(70);
}

/** Whether any file under `paths` is newer than `stamp`. */
function isStale(stamp, paths) {
  const built = statSync(stamp).mtimeMs;
  const newer = (path) => {
    const stat = statSync(path);
    // A directory's own time tells of files that were removed.
    if (stat.mtimeMs > built) return true;
    return stat.isDirectory() && readdirSync(path).some((name) => newer(join(path, name)));
  };
  return paths.some((path) => newer(join(root, path)));
}

function isOlder(version, wanted) {
  const [major, minor] = version.split('.').map(Number);
  return major < wanted[0] || (major === wanted[0] && minor < wanted[1]);
}
