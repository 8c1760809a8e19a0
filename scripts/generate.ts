// SPDX-License-Identifier: MIT
// Writes docs/configuration.md and docs/ironsocket.schema.json from the schema of the configuration.
//   node scripts/generate.ts           writes what has changed
//   node scripts/generate.ts --check   writes nothing, fails when a file is stale
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { z } from 'zod';
import { configSchema, kinds } from '../src/config/schema.ts';
import { suites } from '../src/config/suites.ts';

interface Node {
  type?: string | string[];
  kind?: keyof typeof kinds;
  description?: string;
  defaultValue?: unknown;
  defaultText?: string;
  samples?: unknown[];
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Node>;
  required?: string[];
  items?: Node;
  anyOf?: Node[];
}

const root = z.toJSONSchema(configSchema, { io: 'input' }) as Node;
const outputs = { 'docs/configuration.md': reference(root), 'docs/ironsocket.schema.json': editorSchema(root) };
const check = process.argv.includes('--check');
for (const [name, text] of Object.entries(outputs)) {
  const path = fileURLToPath(new URL(`../${name}`, import.meta.url));
  const before = read(path);
  if (before === text) continue;
  if (check) {
    console.error(`${name} is stale: run node scripts/generate.ts`);
    process.exitCode = 1;
  } else {
    writeFileSync(path, text);
    console.log(`wrote ${name}`);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** What zod knows, with the kinds in place of "text or number" and without our own notes. */
function editorSchema(schema: Node): string {
  const convert = (node: Node): Record<string, unknown> => {
    const { kind, defaultText, defaultValue, samples, properties, items, anyOf, type, enum: choices, ...rest } = node;
    const own = kind === undefined || anyOf !== undefined ? { type, enum: choices } : kinds[kind].schema;
    return {
      ...own,
      ...rest,
      ...(defaultValue === undefined ? {} : { default: defaultValue }),
      ...(samples && { examples: samples }),
      ...(defaultText === undefined ? {} : { description: `${node.description} Default: ${defaultText}.` }),
      ...(anyOf && { anyOf: anyOf.map(convert) }),
      ...(items && { items: convert(items) }),
      ...(properties && {
        properties: Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, convert(each)])),
      }),
    };
  };
  return `${JSON.stringify(convert(schema), null, 2)}\n`;
}

function reference(schema: Node): string {
  const sections = [...groups(schema, '', 'top level')];
  return `${[introduction(), ...sections.map(section), suiteTable()].join('\n')}`;
}

interface Group {
  readonly title: string;
  readonly intro: string;
  readonly keys: readonly { readonly name: string; readonly node: Node; readonly required: boolean }[];
}

/** A section for each object; keys that only hold an object are told by its section. */
function* groups(node: Node, path: string, title: string): Generator<Group> {
  const entries = Object.entries(node.properties ?? {});
  const inner = entries.flatMap(([name, child]) => {
    const object = child.properties === undefined ? child.items : child;
    return object?.properties === undefined ? [] : [{ name, object, child }];
  });
  const keys = entries
    .filter(([name]) => !inner.some((each) => each.name === name))
    .map(([name, child]) => ({ name, node: child, required: node.required?.includes(name) ?? false }));
  if (keys.length > 0) yield { title, intro: path === '' ? '' : (node.description ?? ''), keys };
  for (const { name, object, child } of inner) {
    const list = child.items === undefined ? '' : '[]';
    const full = `${path}${name}${list}`;
    if (path.startsWith('listeners[]') && (name === 'tls' || name === 'timeouts')) continue;
    yield* groups({ ...object, description: child.description ?? '' }, `${full}.`, `\`${full}\``);
  }
}

function section({ title, intro, keys }: Group): string {
  const rows = keys.map(({ name, node, required }) => entry(name, node, required));
  const notes =
    title === '`listeners[]`'
      ? `${intro} Beside these keys a listener may have its own \`tls\` (all but \`tickets\`) and \`timeouts\` (all but \`drain\`).`
      : intro;
  return `## ${title.charAt(0).toUpperCase()}${title.slice(1)}\n\n${notes === '' ? '' : `${notes}\n\n`}${rows.join('\n')}`;
}

function entry(name: string, node: Node, required: boolean): string {
  const fallback = required ? 'required' : `default: ${defaultOf(node)}`;
  const example = node.samples?.map((value) => exampleText(name, value)).join('') ?? '';
  const code = example === '' ? '' : `\n\`\`\`yaml\n${example}\`\`\`\n`;
  return `### \`${name}\`\n\n*${typeOf(node)}, ${fallback}.* ${node.description ?? ''}\n${code}`;
}

function exampleText(name: string, value: unknown): string {
  if (!Array.isArray(value)) return stringify({ [name]: value }, { lineWidth: 0 });
  return `${name}: [${value.map((item) => stringify(item, { collectionStyle: 'flow' }).trim()).join(', ')}]\n`;
}

function defaultOf(node: Node): string {
  if (node.defaultText !== undefined) return node.defaultText;
  if (node.defaultValue === undefined) throw new Error(`no default: ${JSON.stringify(node)}`);
  if (Array.isArray(node.defaultValue) && node.defaultValue.length === 0) return 'empty';
  return `\`${node.kind === 'version' ? JSON.stringify(node.defaultValue) : node.defaultValue}\``;
}

function typeOf(node: Node): string {
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(' or ');
  if (node.items !== undefined) return `list of ${plural(typeOf(node.items))}`;
  if (node.kind !== undefined) return kinds[node.kind].text;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${value}\``).join(' or ');
  if (node.type === 'integer') return `number from ${node.minimum} to ${node.maximum}`;
  if (node.type === 'boolean') return '`true` or `false`';
  return String(node.type);
}

function plural(noun: string): string {
  return noun.endsWith('s') ? `${noun}es` : `${noun}s`;
}

function introduction(): string {
  const example = `# yaml-language-server: $schema=./node_modules/ironsocket/docs/ironsocket.schema.json
user: nobody
log: { level: info, file: /var/log/ironsocket.log }
timeouts: { idle: 10m }
tls:
  min_version: "1.2"
listeners:
  - name: web
    listen: "*:443"
    backend: 127.0.0.1:8080
    certificates:
      - { cert: fullchain.pem, key: privkey.pem }
    proxy_protocol: v2
`;
  return `<!-- Written by scripts/generate.ts from src/config/schema.ts: change it there. -->
# Configuration

ironsocket reads one YAML file: \`ironsocket run -c FILE\`. \`ironsocket check -c FILE\` tells everything that is wrong with
it, by line and column, and with the files, ports and rights that it needs. Only \`listeners\` is required.

\`\`\`yaml
${example}\`\`\`

- **Durations** are a number with \`ms\`, \`s\`, \`m\`, \`h\` or \`d\`: \`500ms\`, \`10s\`, \`1h30m\`. Where it says so, \`0\` is never.
- **Sizes** are a whole number with \`B\`, \`KiB\`, \`MiB\` or \`GiB\`, at most \`1024GiB\`: \`512B\`, \`64KiB\`. Only \`0\` needs no unit.
- **Paths** that are relative start from the directory of the file (with flags, from the working directory).
- **Addresses** that start with \`*\` or \`[\` need quotes, since these mean something else to YAML.
- Every other key of the file is refused, and so are aliases, tags and further documents.
- Most keys are flags as well: see \`ironsocket run --help\`.
`;
}

function suiteTable(): string {
  const rows = suites.map((suite) => {
    const certificate = suite.key ?? 'any';
    return `| \`${suite.name}\` | ${suite.version} | ${certificate} | ${suite.onlyIfConfigured ? 'no' : 'yes'} |`;
  });
  return `## Cipher suites\n\n| suite | TLS | certificate | in the default list |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}
