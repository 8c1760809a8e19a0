// SPDX-License-Identifier: MIT
// The report as people read it: by section one line for each finding, below it what it means and what to do; the table of ciphers;
// the verdict last.
import { styleText } from 'node:util';
import { printable } from '../config/fault.ts';
import type { RenderOptions } from '../config/render.ts';
import { type Verdict, versions } from './engine-choice.ts';
import { type Finding, type FindingStatus, sections } from './finding.ts';
import type { Report } from './report.ts';

const titles: Readonly<Record<Finding['section'], string>> = {
  kernel: 'Kernel',
  network: 'Network devices',
  limits: 'Limits',
  openssl: 'OpenSSL',
  surroundings: 'Surroundings',
};
const colours = { ok: 'green', note: 'dim', warn: 'yellow', missing: 'yellow' } as const;
type Paint = (format: Parameters<typeof styleText>[0], text: string) => string;

/** Ends with the verdict and a line feed. */
export function renderReport(report: Report, { colour, width }: RenderOptions): string {
  const paint: Paint = (format, text) => (colour ? styleText(format, text, { validateStream: false }) : text);
  const blocks = sections.map((section) => {
    const own = report.findings.filter((finding) => finding.section === section);
    const rows = own.map((finding) => findingText(finding, width, paint));
    return [paint('bold', titles[section]), ...rows, ...(section === 'kernel' ? cipherTable(report, paint) : [])].join(
      '\n',
    );
  });
  const verdict = report.verdicts.map((verdict) => verdictText(verdict, width, paint)).join('\n');
  return `${[`ironsocket ${report.ironsocket}`, ...blocks, verdict].join('\n\n')}\n`;
}

const topicColumn = 11;
const textColumn = topicColumn + 14;

function findingText({ status, topic, text, meaning, action, command }: Finding, width: number, paint: Paint): string {
  const start = `  ${status}`.padEnd(topicColumn) + printable(topic).padEnd(textColumn - topicColumn - 1);
  // Past its column a long topic pushes the text on, a blank stays between.
  const [first = '', ...rest] = wrapped(
    `${start.slice(topicColumn)} ${printable(text)}`,
    width - topicColumn,
    textColumn - topicColumn,
  );
  const rows = [
    `  ${paint(colours[status], status)}${' '.repeat(topicColumn - 2 - status.length)}${first}`,
    ...rest.map(indented),
  ];
  if (meaning !== undefined) rows.push(...paragraph(meaning, width));
  if (action !== undefined) {
    const [line = '', ...more] = paragraph(`help: ${action}`, width);
    rows.push(
      line.replace('help:', () => paint('cyan', 'help:')),
      ...more,
    );
  }
  // Whole, whatever the width: it is to be copied.
  if (command !== undefined) rows.push(`${' '.repeat(textColumn)}${printable(command)}`);
  return rows.join('\n');
}

function indented(row: string): string {
  return `${' '.repeat(topicColumn)}${row}`;
}

function paragraph(text: string, width: number): string[] {
  const pad = ' '.repeat(textColumn);
  return wrapped(printable(text), width - textColumn, 0).map((row) => `${pad}${row}`);
}

/** Breaks at blanks into rows of at most `width`, the later ones indented; a longer word stays whole. */
function wrapped(text: string, width: number, indent: number): string[] {
  const rows: string[] = [];
  let row = '';
  for (const word of text.split(/(?<=\S) /)) {
    if (row !== '' && row.length + 1 + word.length > width) {
      rows.push(row);
      row = `${' '.repeat(indent)}${word}`;
    } else {
      row = row === '' ? word : `${row} ${word}`;
    }
  }
  return [...rows, row];
}

/** By cipher, TLS version and direction what the kernel can carry. Nothing where it has no TLS at all. */
function cipherTable({ kernel: { tls } }: Report, paint: Paint): string[] {
  if (tls.ulp !== 'ok') return [];
  const ciphers = [...new Set(tls.keys.map(({ cipher }) => cipher))];
  const cell = (error: string | undefined) => {
    const word: FindingStatus = error === 'ok' ? 'ok' : 'missing';
    return paint(colours[word], word) + ' '.repeat(9 - word.length);
  };
  const rows = ciphers.map((cipher) => {
    const entries = versions.map((version) => tls.keys.find((key) => key.version === version && key.cipher === cipher));
    return `  ${cipher.padEnd(20)}${entries.map((entry) => `${cell(entry?.tx)}${cell(entry?.rx)}`).join('')}`.trimEnd();
  });
  const heads = versions.map((version) => `${version} send`.padEnd(9) + 'receive'.padEnd(9)).join('');
  return ['', `  ${paint('dim', `${'the kernel can do'.padEnd(20)}${heads}`.trimEnd())}`, ...rows];
}

function verdictText({ version, engine, why }: Verdict, width: number, paint: Paint): string {
  const name = engine === 'mixed' ? 'kernel' : engine;
  const start = `offload: auto carries TLS ${version} in ${name === 'kernel' ? 'the kernel' : 'userspace'}`;
  const text = engine === 'mixed' ? `${start}, ${why}` : `${start}: ${why}`;
  return wrapped(text, width, 4)
    .map((row, index) => (index === 0 ? paint('bold', row) : row))
    .join('\n');
}
