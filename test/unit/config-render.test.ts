// SPDX-License-Identifier: MIT
// How faults look: golden texts.
import * as assert from 'uvu/assert';
import type { Fault } from '../../src/config/fault.ts';
import { renderFaults } from '../../src/config/render.ts';
import { test } from '../helpers/suite.ts';

function fault(text: string, column: number, length: number, more: Partial<Fault> = {}): Fault {
  const place = { file: 'ironsocket.yaml', line: 12, column, length, text };
  return { ...place, severity: 'fault', code: 'ERR_CONFIG_X', path: 'x', message: 'it is wrong', ...more };
}

function rendered(...faults: Fault[]): string {
  return renderFaults(faults, { colour: false, width: 60 });
}

test('a fault has its place, its line, a caret and help', () => {
  const text = '    backnd: 127.0.0.1:8080';
  assert.is(
    rendered(fault(text, 5, 6, { message: 'unknown key "backnd"', hint: 'did you mean "backend"?' })),
    `ironsocket.yaml:12:5: unknown key "backnd"
   12 |     backnd: 127.0.0.1:8080
      |     ^^^^^^
      help: did you mean "backend"?
`,
  );
});

test('several faults are apart by an empty line, and warnings are called so', () => {
  assert.is(
    rendered(fault('a: b', 1, 1), fault('a: b', 4, 1, { severity: 'warning' })),
    `ironsocket.yaml:12:1: it is wrong
   12 | a: b
      | ^

ironsocket.yaml:12:4: warning: it is wrong
   12 | a: b
      |    ^
`,
  );
});

test('what has no line has no excerpt', () => {
  const bare = { severity: 'fault', code: 'X', path: '', message: 'it is wrong' } as const;
  assert.is(rendered({ ...bare, file: 'x.yaml' }), 'x.yaml: it is wrong\n');
  assert.is(rendered({ ...bare, flag: '--listen', hint: 'try' }), '--listen: it is wrong\n      help: try\n');
  assert.is(rendered({ ...bare, flag: '--cert', message: '--cert is missing' }), '--cert is missing\n');
  assert.is(rendered(bare), 'it is wrong\n');
});

test('tabs, wide, combining and control characters keep the caret in its place', () => {
  assert.is(
    rendered(fault('\ta:\tb', 5, 1))
      .split('\n')
      .slice(1, 3)
      .join('\n'),
    '   12 |     a:    b\n      |           ^',
  );
  assert.is(
    rendered(fault('名前: x', 5, 1))
      .split('\n')
      .slice(1, 3)
      .join('\n'),
    '   12 | 名前: x\n      |       ^',
  );
  assert.is(
    rendered(fault('名前: x', 1, 2))
      .split('\n')
      .slice(1, 3)
      .join('\n'),
    '   12 | 名前: x\n      | ^^^^',
  );
  assert.is(
    rendered(fault('e\u0301: x', 5, 1))
      .split('\n')
      .slice(1, 3)
      .join('\n'),
    '   12 | e\u0301: x\n      |    ^',
  );
  assert.is(
    rendered(fault('😀: x', 5, 1))
      .split('\n')
      .slice(1, 3)
      .join('\n'),
    '   12 | 😀: x\n      |     ^',
  );
  assert.is(
    rendered(fault('\x1b[2J: x', 7, 1))
      .split('\n')
      .slice(1, 3)
      .join('\n'),
    '   12 | \\u{1b}[2J: x\n      |            ^',
  );
});

test('a wide line is cut around the caret', () => {
  const start = rendered(fault(`key: ${'x'.repeat(100)}`, 1, 3)).split('\n');
  assert.is(start[1], `   12 | key: ${'x'.repeat(45)}…`);
  assert.is(start[2], '      | ^^^');
  const middle = rendered(fault(`${'x'.repeat(100)}WRONG${'y'.repeat(100)}`, 101, 5)).split('\n');
  assert.is(middle[1], `   12 | …${'x'.repeat(16)}WRONG${'y'.repeat(29)}…`);
  assert.is(middle[2], `      | ${' '.repeat(17)}^^^^^`);
  const end = rendered(fault('x'.repeat(200), 200, 1)).split('\n');
  assert.is(end[1], `   12 | …${'x'.repeat(17)}`);
  assert.is(end[2], `      | ${' '.repeat(17)}^`);
  const whole = rendered(fault('x'.repeat(200), 1, 200)).split('\n');
  assert.is(whole[2], `      | ${'^'.repeat(50)}`);
});

test('a caret behind the end of the line is shown there', () => {
  assert.is(rendered(fault('', 1, 1)), 'ironsocket.yaml:12:1: it is wrong\n   12 |\n      | ^\n');
  assert.is(rendered(fault('ab', 9, 1)).split('\n')[2], '      |   ^');
});

test('colour is only where it is asked for', () => {
  const coloured = renderFaults([fault('a: b', 1, 1, { hint: 'h' })], { colour: true, width: 60 });
  assert.ok(coloured.includes('\x1b[31m^\x1b[39m'));
  assert.ok(coloured.includes('\x1b[36mhelp:\x1b[39m h'));
  assert.not(rendered(fault('a: b', 1, 1)).includes('\x1b'));
});

test('a message or a file name can not bring its own escapes', () => {
  const text = rendered(fault('a', 1, 1, { file: 'a\x1b[1m', message: 'b\nc', hint: 'd\r' }));
  assert.ok(text.startsWith('a\\u{1b}[1m:12:1: b\\u{a}c\n'));
  assert.ok(text.endsWith('help: d\\u{d}\n'));
});
