// SPDX-License-Identifier: MIT
// What the YAML parser complains of, in words for somebody who does not know YAML's grammar.

interface Words {
  readonly message: string;
  readonly hint?: string;
}

const bareIpv6 = /:\s+(?<address>\[[0-9a-f:.%]*\]:\d+)/i;

/** `code` and `message` are those of the `yaml` package; `line` is the line that it stumbled at. */
export function syntaxComplaint(code: string, message: string, line: string, offset: number, text: string): Words {
  const address = bareIpv6.exec(line)?.groups?.address;
  if (address !== undefined) return { message: 'an IPv6 address must be in quotes', hint: `write "${address}"` };
  // the parser recurses: thousands of "[" end the stack
  if (message.includes('call stack')) return { message: 'the file is nested too deeply' };
  switch (code) {
    case 'TAB_AS_INDENT':
      return { message: 'the line is indented by a tab', hint: 'YAML takes spaces only' };
    case 'BAD_INDENT':
      if (message.startsWith('Flow'))
        return {
          message: `"${message.includes('map') ? '{' : '['}" is not closed`,
          hint: `add the missing "${message.includes('map') ? '}' : ']'}"`,
        };
      return { message: 'the indentation does not fit', hint: 'keys of the same level start at the same column' };
    case 'MISSING_CHAR':
      if (message.includes('quote'))
        return { message: 'a text in quotes is not closed', hint: 'add the missing quote' };
      if (message.startsWith('Implicit')) return { message: 'there is no ":" after the key', hint: 'write KEY: VALUE' };
      break;
    case 'BLOCK_AS_IMPLICIT_KEY':
      return {
        message: 'there are two ":" in one line',
        hint: 'put each KEY: VALUE on its own line, or the value in quotes',
      };
    case 'BAD_SCALAR_START':
      return { message: `a text can not start with "${text[offset] ?? ''}"`, hint: 'put it in quotes' };
    case 'BAD_DQ_ESCAPE':
      return {
        message: 'there is no such escape',
        hint: 'in double quotes write \\\\ for a backslash, or use single quotes',
      };
    case 'MULTIPLE_DOCS':
      return { message: 'there is a second document in the file', hint: 'remove the "---"' };
    case 'BAD_ALIAS':
      return { message: 'a text can not start with "*" or "&"', hint: 'put it in quotes' };
  }
  const plain = message.replace(/; please use .*$/, '');
  return { message: `this is not YAML: ${plain.charAt(0).toLowerCase()}${plain.slice(1)}` };
}
