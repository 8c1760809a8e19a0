// SPDX-License-Identifier: MIT
// YAML text to a tree of plain values that remembers where each value stands. What YAML allows but a configuration does not
// need (aliases, tags, several documents) is refused: a file should say what it means where it says it.
import { dirname, resolve } from 'node:path';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLMap,
} from 'yaml';
import { type Fault, type Path, type Place, quoted, sortFaults } from './fault.ts';
import type { Source } from './source.ts';
import { syntaxComplaint } from './yaml-syntax.ts';

export interface YamlResult {
  /** Undefined when the text is no YAML: nothing more can be said of it. */
  readonly source?: Source;
  readonly faults: readonly Fault[];
}

/** Deeper than any configuration, and far from the end of the stack. */
const maxDepth = 32;
const tooDeep = 'the file is nested too deeply';

export function parseYaml(text: string, file: string): YamlResult {
  const lines = new Lines(text, file);
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      lineCounter: lines.counter,
      prettyErrors: false,
      uniqueKeys: false,
      version: '1.2',
      // 'silent' would let further documents pass
      logLevel: 'error',
    });
  } catch (error) {
    // the parser recurses: thousands of "[" end the stack
    if (!(error instanceof RangeError)) throw error;
    return { faults: [lines.fault(0, 1, 'ERR_CONFIG_SYNTAX', tooDeep)] };
  }
  if (document.errors.length > 0) return { faults: syntaxFaults(document, lines, text) };
  if (document.directives?.yaml.explicit) {
    return {
      faults: [
        lines.fault(text.indexOf('%'), 5, 'ERR_CONFIG_SYNTAX', 'directives are not used here', 'remove the line'),
      ],
    };
  }
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    const hint = 'it needs at least "listeners:" with "listen", "backend" and "certificates"';
    return { faults: [lines.fault(0, 1, 'ERR_CONFIG_EMPTY', 'the configuration is empty', hint)] };
  }
  const tree = new Tree(lines);
  const value = tree.read(document.contents, 0);
  const root = document.contents;
  const source: Source = {
    value,
    directory: dirname(resolve(file)),
    place: (path, atKey) => placeOf(root, lines, path, atKey),
    keyName: (path) => quoted(String(path.at(-1) ?? '')),
  };
  // an alias or a tag leaves a hole in the tree: further faults there would mislead
  return tree.faults.some((fault) => fault.code === 'ERR_CONFIG_SYNTAX')
    ? { faults: sortFaults(tree.faults) }
    : { source, faults: tree.faults };
}

/** At most one a line: the parser stumbles on after the first. */
function syntaxFaults(document: Document.Parsed, lines: Lines, text: string): Fault[] {
  const seen = new Set<number | undefined>();
  const end = text.trimEnd().length;
  return document.errors
    .map((error) => {
      const { message, hint } = syntaxComplaint(
        error.code,
        error.message,
        lines.lineAt(error.pos[0]),
        error.pos[0],
        text,
      );
      // "missing at the end of the file" is about the last line that has something
      const offset = Math.max(0, Math.min(error.pos[0], end - 1));
      return lines.fault(offset, Math.max(1, error.pos[1] - error.pos[0]), 'ERR_CONFIG_SYNTAX', message, hint);
    })
    .filter((fault) => !seen.has(fault.line) && seen.add(fault.line));
}

class Lines {
  readonly counter = new LineCounter();
  readonly #text: string;
  readonly #file: string;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
    // an empty text gives the parser no line to count
    this.counter.addNewLine(0);
  }

  lineAt(offset: number): string {
    // lastIndexOf takes a negative position for 0
    const start = offset === 0 ? 0 : this.#text.lastIndexOf('\n', offset - 1) + 1;
    const end = this.#text.indexOf('\n', start);
    return this.#text.slice(start, end < 0 ? undefined : end).replace(/\r$/, '');
  }

  place(offset: number, length: number): Place {
    const before = this.#text.slice(0, offset);
    const line = before.split('\n').length;
    const text = this.lineAt(offset);
    // The end of a line may be between "\r" and "\n".
    const column = Math.min(offset - (before.lastIndexOf('\n') + 1), text.length) + 1;
    return { file: this.#file, line, column, length: Math.max(1, Math.min(length, text.length - column + 1)), text };
  }

  fault(offset: number, length: number, code: string, message: string, hint?: string): Fault {
    return { ...this.place(offset, length), severity: 'fault', code, path: '', message, hint };
  }
}

class Tree {
  readonly faults: Fault[] = [];
  readonly #lines: Lines;

  constructor(lines: Lines) {
    this.#lines = lines;
  }

  read(node: unknown, depth: number): unknown {
    if (depth > maxDepth) return this.#refuse(node as Node, tooDeep);
    if (isAlias(node)) {
      return this.#refuse(
        node,
        `${quoted(`*${node.source}`)} is an alias, which is not used here`,
        `if the text was meant: "*${node.source}" in quotes`,
      );
    }
    if (isMap(node)) return this.#readMap(node, depth);
    if (isSeq(node)) {
      this.#refuseTag(node);
      return node.items.map((item) => this.read(item, depth + 1));
    }
    if (!isScalar(node)) return null;
    this.#refuseTag(node);
    // 1.10 is text that looks like a number: what was written counts
    if (typeof node.value === 'number' && String(node.value) !== node.source) return node.source;
    return node.value;
  }

  #readMap(map: YAMLMap, depth: number): Record<string, unknown> {
    this.#refuseTag(map);
    const result: Record<string, unknown> = Object.create(null);
    const firsts = new Map<string, Node>();
    for (const { key, value } of pairsOf(map)) {
      const name = keyText(key);
      if (name === undefined) {
        this.#refuse(key, 'a key must be a word');
        continue;
      }
      const first = firsts.get(name);
      if (first !== undefined) {
        const line = this.#lines.place(first.range?.[0] ?? 0, 1).line;
        this.#add(
          key,
          'ERR_CONFIG_DUPLICATE_KEY',
          `${quoted(name)} is there twice`,
          `the first is in line ${line}: keep one of them`,
        );
        continue;
      }
      firsts.set(name, key);
      result[name] = this.read(value, depth + 1);
    }
    return result;
  }

  #refuseTag(node: Node): void {
    if (node.tag !== undefined) this.#refuse(node, 'tags are not used here', 'put the text in quotes');
  }

  #refuse(node: Node | null, message: string, hint?: string): undefined {
    this.#add(node, 'ERR_CONFIG_SYNTAX', message, hint);
  }

  #add(node: Node | null, code: string, message: string, hint?: string): void {
    const [start, end] = node?.range ?? [0, 1];
    this.faults.push(this.#lines.fault(start, end - start, code, message, hint));
  }
}

/** Follows a path as far as it goes. */
function placeOf(root: Node, lines: Lines, path: Path, atKey: boolean): Place {
  let key: Node | undefined;
  let node: Node | null = root;
  let found = 0;
  for (const part of path) {
    if (isMap(node) && typeof part === 'string') {
      const pair: Pair<Node, Node | null> | undefined = pairsOf(node).find((item) => keyText(item.key) === part);
      if (pair === undefined) break;
      key = pair.key;
      node = pair.value;
    } else if (isSeq(node) && typeof part === 'number' && node.items[part] !== undefined) {
      key = undefined;
      node = node.items[part] as Node;
    } else break;
    found += 1;
  }
  const missing = found < path.length;
  // a key without value has an empty node, and a block of keys is best shown by the key in front of it
  const empty = node === null || (isScalar(node) && node.range?.[0] === node.range?.[1]);
  const block = isMap(node) || isSeq(node) ? !node.flow : false;
  if (key !== undefined && (empty || block || (atKey && !missing))) return nodePlace(key, lines);
  return nodePlace(firstKey(node) ?? node ?? root, lines);
}

function firstKey(node: Node | null): Node | undefined {
  if (!isMap(node) || node.flow) return undefined;
  return pairsOf(node)[0]?.key;
}

function pairsOf(map: YAMLMap): readonly Pair<Node, Node | null>[] {
  return map.items as Pair<Node, Node | null>[];
}

/** A key as it is written, but without quotes. */
function keyText(key: Node): string | undefined {
  if (!isScalar(key)) return undefined;
  return typeof key.value === 'string' ? key.value : (key.source ?? '');
}

function nodePlace(node: Node, lines: Lines): Place {
  const [start, end] = node.range ?? [0, 1];
  return lines.place(start, end - start);
}
