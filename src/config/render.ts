// SPDX-License-Identifier: MIT
// Faults as people read them: place, message, the line with a caret under what is meant, and what to do.
import { stripVTControlCharacters, styleText } from 'node:util';
import { type Fault, printable } from './fault.ts';

export interface RenderOptions {
  readonly colour: boolean;
  /** Columns that an excerpt may take. */
  readonly width: number;
}

/** What suits a stream: colour only on a terminal (or as NO_COLOR and FORCE_COLOR say), excerpts within its width. */
export function optionsFor(stream: NodeJS.WriteStream): RenderOptions {
  const colour = styleText('red', 'x', { stream }) !== 'x';
  return { colour, width: Math.max(40, Math.min(stream.columns ?? 100, 160)) };
}

export function renderFaults(faults: readonly Fault[], options: RenderOptions): string {
  return faults.map((fault) => renderFault(fault, options)).join('\n');
}

function renderFault(fault: Fault, options: RenderOptions): string {
  const paint = painter(options.colour);
  const { severity, line, text, hint } = fault;
  const mark = severity === 'warning' ? paint('yellow', 'warning: ') : '';
  const place = placeText(fault);
  const rows = [`${place === '' ? '' : `${paint('bold', place)}: `}${mark}${printable(fault.message)}`];
  if (line !== undefined && text !== undefined) {
    const { excerpt, caret } = excerptOf(text, (fault.column ?? 1) - 1, fault.length ?? 1, options.width);
    const number = String(line).padStart(5);
    rows.push(`${paint('dim', `${number} |`)} ${excerpt}`.trimEnd());
    const indent = caret.length - caret.trimStart().length;
    const painted = caret.slice(0, indent) + paint(severity === 'warning' ? 'yellow' : 'red', caret.slice(indent));
    rows.push(`${paint('dim', `${' '.repeat(number.length)} |`)} ${painted}`);
  }
  if (hint !== undefined) rows.push(`      ${paint('cyan', 'help:')} ${printable(hint)}`);
  return `${rows.join('\n')}\n`;
}

/** `FILE:LINE:COLUMN`, the flag, or nothing. */
export function placeText({ file, line, column, flag, message }: Fault): string {
  if (flag !== undefined) return message.startsWith(flag) ? '' : flag;
  if (file === undefined) return '';
  const name = printable(file);
  return line === undefined ? name : `${name}:${line}:${column ?? 1}`;
}

function painter(colour: boolean): (format: Parameters<typeof styleText>[0], text: string) => string {
  // validateStream: false, since the caller has looked at the stream already
  return (format, text) => (colour ? styleText(format, text, { validateStream: false }) : text);
}

interface Excerpt {
  readonly excerpt: string;
  readonly caret: string;
}

const tabWidth = 4;

/** The line as it looks on a terminal, cut to a window around the caret when it is too wide. */
function excerptOf(text: string, start: number, length: number, width: number): Excerpt {
  const cells: { readonly shown: string; readonly width: number; readonly marked: boolean }[] = [];
  let offset = 0;
  for (const { segment } of new Intl.Segmenter('en', { granularity: 'grapheme' }).segment(text)) {
    const shown = segment === '\t' ? ' '.repeat(tabWidth) : printable(segment);
    const marked = offset + segment.length > start && offset < start + length;
    cells.push({ shown, width: displayWidth(shown), marked });
    offset += segment.length;
  }
  const first = cells.findIndex((cell) => cell.marked);
  const { from, to } = windowOf(cells, first < 0 ? cells.length : first, width - 10);
  const visible = cells.slice(from, to);
  const left = from > 0 ? '…' : '';
  const right = to < cells.length ? '…' : '';
  const before = visible.slice(0, Math.max(0, (first < 0 ? cells.length : first) - from));
  const marked = visible.filter((cell) => cell.marked).reduce((sum, cell) => sum + cell.width, 0);
  const indent = left.length + before.reduce((sum, cell) => sum + cell.width, 0);
  return {
    excerpt: `${left}${visible.map((cell) => cell.shown).join('')}${right}`,
    caret: `${' '.repeat(indent)}${'^'.repeat(Math.max(1, marked))}`,
  };
}

/** Which cells fit into `width`, beginning a third before the caret if the line is too wide. */
function windowOf(
  cells: readonly { readonly width: number }[],
  first: number,
  width: number,
): { from: number; to: number } {
  const total = cells.reduce((sum, cell) => sum + cell.width, 0);
  if (total <= width) return { from: 0, to: cells.length };
  let from = first;
  for (let room = Math.floor(width / 3); from > 0 && room >= (cells[from - 1]?.width ?? 0); ) {
    from -= 1;
    room -= cells[from]?.width ?? 0;
  }
  let to = from;
  for (let room = width; to < cells.length && room >= (cells[to]?.width ?? 0); to++) room -= cells[to]?.width ?? 0;
  return { from, to };
}

/** Columns on a terminal: two for East Asian wide characters and emoji (UAX 11), none for what combines. */
function displayWidth(text: string): number {
  let width = 0;
  for (const character of stripVTControlCharacters(text)) {
    if (/[\p{Mn}\p{Me}\p{Cf}]/u.test(character)) continue;
    width +=
      /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60]/u.test(
        character,
      )
        ? 2
        : 1;
  }
  return width;
}
