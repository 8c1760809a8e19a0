// SPDX-License-Identifier: MIT
// From what zod says to complaints in the words of somebody who edits the file.
import type { z } from 'zod';
import { type Complaint, closest, type Path, type PathPart, pathText, quoted } from './fault.ts';
import { configShape } from './schema.ts';
import { type Source, valueAt } from './source.ts';

type Issue = z.core.$ZodIssue;

export function complaintsOf(issues: readonly Issue[], source: Source): Complaint[] {
  const all = issues.flatMap((issue) => expand(issue, []));
  const unknown = all.flatMap(({ issue, path }) => {
    return issue.code === 'unrecognized_keys' ? issue.keys.map((name) => unknownKey([...path, name])) : [];
  });
  // a misspelt key is not missing as well
  const meant = new Set(unknown.map(({ meant }) => meant));
  const others = all
    .filter(({ issue, path }) => {
      const absent = valueAt(source.value, path) === undefined;
      return issue.code !== 'unrecognized_keys' && !(absent && meant.has(pathText(path)));
    })
    .map(({ issue, path }) => complaintOf(issue, path, source));
  return [...unknown.map(({ complaint }) => complaint), ...others];
}

interface Placed {
  readonly issue: Issue;
  readonly path: Path;
}

/** Of a value that may have several forms, the form that was meant tells more than "none of them". */
function expand(issue: Issue, before: Path): Placed[] {
  const path = [...before, ...(issue.path as Path)];
  if (issue.code !== 'invalid_union') return [{ issue, path }];
  const meant = issue.errors.find((branch) =>
    branch.some((inner) => inner.path.length > 0 || inner.code === 'custom' || inner.code === 'too_small'),
  );
  return meant === undefined ? [{ issue, path }] : meant.flatMap((inner) => expand(inner, path));
}

function complaintOf(issue: Issue, path: Path, source: Source): Complaint {
  const value = valueAt(source.value, path);
  if (value === undefined) return missing(path, source);
  if (value === null) {
    const hint = 'give it one, or remove the line';
    return { code: 'ERR_CONFIG_NO_VALUE', path, message: `${source.keyName(path)} has no value`, hint };
  }
  const wrong = { code: 'ERR_CONFIG_VALUE', path };
  switch (issue.code) {
    case 'custom':
      return { ...wrong, message: issue.message, hint: issue.params?.hint as string | undefined };
    case 'invalid_value':
      return { ...wrong, ...notOneOf(value, issue.values) };
    case 'too_small':
    case 'too_big': {
      if (Array.isArray(value))
        return { code: 'ERR_CONFIG_EMPTY_LIST', path, message: `the list ${source.keyName(path)} is empty` };
      const bound = issue.code === 'too_small' ? `at least ${issue.minimum}` : `at most ${issue.maximum}`;
      return {
        ...wrong,
        message: `${quoted(value)} is too ${issue.code === 'too_small' ? 'small' : 'large'}`,
        hint: bound,
      };
    }
    case 'invalid_type':
      return { ...wrong, ...wrongType(value, issue.expected) };
    case 'invalid_union':
      return { ...wrong, message: `${nameOf(value)} can not be here`, hint: `write ${issue.message}` };
    default:
      return { ...wrong, message: issue.message };
  }
}

function missing(path: Path, source: Source): Complaint {
  const code = 'ERR_CONFIG_MISSING_KEY';
  const name = source.keyName(path);
  const key = path.at(-1);
  if (path.length === 1 && key === 'listeners') {
    return {
      code,
      path,
      message: 'there are no listeners',
      hint: 'add "listeners:" with "listen", "backend" and "certificates"',
    };
  }
  if (key === 'key' || key === 'cert') {
    const other = source.keyName([...path.slice(0, -1), key === 'key' ? 'cert' : 'key']);
    return { code, path, message: `${name} is missing`, hint: `${other} and ${name} go together` };
  }
  const examples: Readonly<Record<string, string>> = {
    listen: 'where clients connect, for example 0.0.0.0:443',
    backend: 'where the decrypted bytes go, for example 127.0.0.1:8080',
    certificates: 'a list of certificates, each with "cert" and "key"',
  };
  return { code, path, message: `${name} is missing`, hint: examples[String(key)] };
}

/** Every key that there is, as dotted path with `listeners` for each of its items. */
const known: readonly string[] = (() => {
  const names: string[] = [];
  const inner = (prefix: string, shape: Readonly<Record<string, unknown>>): void => {
    for (const [name, schema] of Object.entries(shape)) {
      names.push(`${prefix}${name}`);
      let type = schema as { def: { innerType?: unknown; element?: unknown }; shape?: Record<string, unknown> };
      while (type.shape === undefined && (type.def.innerType ?? type.def.element) !== undefined) {
        type = (type.def.innerType ?? type.def.element) as typeof type;
      }
      if (type.shape !== undefined) inner(`${prefix}${name}.`, type.shape);
    }
  };
  inner('', configShape);
  return names;
})();

/** What other proxies call our keys. */
const synonyms: Readonly<Record<string, string>> = {
  address: 'listen',
  bind: 'listen',
  server: 'backend',
  target: 'backend',
  forward: 'backend',
  certificate: 'certificates',
  certs: 'certificates',
  private_key: 'key',
  workers: 'threads',
  maxconn: 'max_connections',
  frontends: 'listeners',
};

function unknownKey(path: Path): { readonly complaint: Complaint; readonly meant: string | undefined } {
  const name = String(path.at(-1));
  const parent = path
    .slice(0, -1)
    .filter((part: PathPart) => typeof part === 'string')
    .join('.');
  const prefix = parent === '' ? '' : `${parent}.`;
  const siblings = known
    .filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes('.'))
    .map((key) => key.slice(prefix.length));
  const synonym = synonyms[name.toLowerCase()];
  const near = closest(name, siblings) ?? (synonym !== undefined && siblings.includes(synonym) ? synonym : undefined);
  const hint =
    near === undefined ? (placeHint(name, parent) ?? `known here: ${siblings.join(', ')}`) : `did you mean "${near}"?`;
  return {
    complaint: { code: 'ERR_CONFIG_UNKNOWN_KEY', path, atKey: true, message: `unknown key ${quoted(name)}`, hint },
    meant: near === undefined ? undefined : pathText([...path.slice(0, -1), near]),
  };
}

/** For a key that there is, but elsewhere. */
function placeHint(name: string, parent: string): string | undefined {
  if (name === '<<') return 'merging is not used here: write the keys out';
  const elsewhere = known.filter((key) => key === name || key.endsWith(`.${name}`));
  // the nearest place: inside the object where it was written, else wherever it is
  const best = elsewhere.find((key) => parent !== '' && key.startsWith(`${parent}.`)) ?? elsewhere[0];
  if (best === undefined) return undefined;
  const inside = best.startsWith(`${parent}.`) ? parent.length + 1 : 0;
  const owner = best.slice(inside, -(name.length + 1));
  return owner === '' ? `"${name}" belongs to the top level` : `"${name}" belongs into "${owner}"`;
}

function notOneOf(value: unknown, values: readonly unknown[]): { message: string; hint: string } {
  const choices = [...new Set(values.map(String))];
  // of v3 nobody knows which other short word was meant
  const word = typeof value === 'string' && value.length >= 4 ? closest(value, choices) : undefined;
  const near = offloadWord(value, choices) ?? word;
  const list = choices.length === 1 ? choices[0] : `${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}`;
  return {
    message: `${typeof value === 'object' ? nameOf(value) : quoted(value)} is not one of ${list}`,
    hint: near === undefined ? `write ${list}` : `did you mean "${near}"?`,
  };
}

/** In lower case; a list or a mapping is no word, and need not even have a text. */
function wordOf(value: unknown): string {
  return typeof value === 'object' ? '' : String(value).toLowerCase();
}

/** What others write to switch kernel TLS on or off. */
function offloadWord(value: unknown, choices: readonly string[]): string | undefined {
  if (!choices.includes('userspace')) return undefined;
  const text = wordOf(value);
  if (['off', 'no', 'false', 'none', '0'].includes(text)) return 'userspace';
  return ['on', 'yes', 'true', 'ktls', '1'].includes(text) ? 'auto' : undefined;
}

function wrongType(value: unknown, expected: string): { message: string; hint: string } {
  const what = typeof value === 'object' ? nameOf(value) : quoted(value);
  switch (expected) {
    case 'array':
      return { message: `${what} is not a list`, hint: 'start each item with "- ", or write [A, B]' };
    case 'object':
      return { message: `${what} is no group of keys`, hint: 'write KEY: VALUE lines, indented' };
    case 'boolean':
      return { message: `${what} is neither true nor false`, hint: yesOrNo(value) };
    case 'int':
    case 'number':
      return { message: `${what} is not a whole number`, hint: 'write digits only' };
    default:
      return { message: `${what} can not be here`, hint: `write ${expected}` };
  }
}

function yesOrNo(value: unknown): string {
  const text = wordOf(value);
  if (['yes', 'on', '1', 'y', 'true'].includes(text)) return 'write true';
  if (['no', 'off', '0', 'n', 'false'].includes(text)) return 'write false';
  return 'write true or false';
}

function nameOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a group of keys';
  return quoted(value);
}
