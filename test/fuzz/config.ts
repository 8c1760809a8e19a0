// SPDX-License-Identifier: MIT
// Whatever is in the file: a configuration that can be used, or faults, each with a sentence and, but for those of the file as a whole,
// a place inside the file. Nothing else is thrown, and no object gets a property that it did not have.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { examine } from '../../src/config/check.ts';
import type { Fault } from '../../src/config/fault.ts';
import { loadConfig, readConfig } from '../../src/config/load.ts';
import { renderFaults } from '../../src/config/render.ts';
import { ConfigError } from '../../src/errors.ts';
import { kernelWithoutChacha } from '../helpers/kernel-reports.ts';
import type { Guidance, Target } from './guided.ts';

const directory = mkdtempSync(join(tmpdir(), 'ironsocket-fuzz-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const file = join(directory, 'ironsocket.yaml');
const prototypes = [Object.prototype, Array.prototype, Function.prototype, String.prototype, Number.prototype];
const properties = prototypes.map((each) => Reflect.ownKeys(each).length);

export const target: Target = (input) => {
  writeFileSync(file, input);
  try {
    const config = loadConfig({ file });
    if (config.listeners.length === 0) throw new Error('a configuration without a listener is taken');
    JSON.stringify(config);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    checkFaults(error.faults, input);
    checkMachine(error);
  }
  if (prototypes.some((each, index) => Reflect.ownKeys(each).length !== properties[index]))
    throw new Error('a prototype has changed');
};

function checkFaults(faults: readonly Fault[], input: Buffer): void {
  if (faults.length === 0) throw new Error('no fault is told');
  const lines = input.toString('utf8').split('\n');
  for (const { code, line, column = 0, length = 0, text, message } of faults) {
    if (!/\w{3}/.test(message) || !code.startsWith('ERR_CONFIG')) throw new Error(`no sentence: ${code} ${message}`);
    if (line === undefined || /UTF|byte/.test(message)) continue;
    const there = lines[line - 1]?.replace(/\r$/, '');
    const fits = text === there && column >= 1 && length >= 1 && column <= (there ?? '').length + 1;
    if (!fits) throw new Error(`${message} is not at ${line}:${column}`);
  }
  const shown = renderFaults(faults, { colour: true, width: 80 });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\0-\x08\x0b-\x1a\x7f\u202e]/.test(shown)) throw new Error('a fault is shown with control characters');
}

/** The machine is looked at for what is left of the file, which drops no fault of it. */
function checkMachine({ faults }: ConfigError): void {
  if (faults.some(({ code, line }) => line === undefined || /SYNTAX|EMPTY$|ENCODING/.test(code))) return;
  const examined = examine(readConfig({ file }), { ports: false, starting: false, kernel: kernelWithoutChacha });
  for (const fault of faults) {
    if (!examined.faults.some(({ line, message }) => line === fault.line && message === fault.message))
      throw new Error(`${fault.message} is lost`);
  }
}

export const guidance: Guidance = {
  counts: (url) => url.includes('/src/config/') || url.includes('/node_modules/yaml/'),
  words:
    `listeners:|\n  - |listen: |backend: |certificates: |cert: |key: |name: |tls:|min_version: |max_version: |"1.2"|"1.3"|ciphers: |alpn: |tickets: |timeouts:|handshake: |connect: |idle: |half_closed: |drain: |10s|0|1h30m|offload: |offload_after: |64KiB|auto|kernel|userspace|proxy_protocol: |v1|v2|none|on_truncation: |fin|reset|v6_only: |threads: |relay: |log: |level: |file: |stdout|control: |off|user: |group: |max_connections: |127.0.0.1:8443|"[::1]:443"|"*:443"|unix:/x|localhost:80|h2|TLS_AES_128_GCM_SHA256|&a |*a|<<: |!!map |!t |--- |...\n|? |: |- |[|]|{|}|, |"|'|\\u0000|\\x1b|# |> |\n|| \n|~|true|false|null|.nan|.inf|1e999|0x1F|__proto__: |constructor: |prototype: |toString: |%YAML 1.2\n|\t|\r\n|\u2028|\ud83d\ude00|\ufeff|999999999999999999999|-1`.split(
      '|',
    ),
};
