// SPDX-License-Identifier: MIT
// From the bytes of a configuration file to text. What is no clean UTF-8 is refused here, with the place of the first bad byte.
import { isUtf8 } from 'node:buffer';
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { Fault, Place } from './fault.ts';

const maxBytes = 1 << 20;

export type TextOrFault = { readonly text: string } | { readonly fault: Fault };

/** `file` is named in faults as it is. */
export function readText(file: string): TextOrFault {
  let fd: number;
  try {
    // O_NONBLOCK: a FIFO must be refused, not waited for
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return { fault: unreadable(file, error) };
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) return { fault: wholeFile(file, 'is a directory, not a file') };
    if (!stat.isFile()) {
      return {
        fault: wholeFile(
          file,
          'is no regular file',
          'the configuration is read more than once: save it to a file first',
        ),
      };
    }
    if (stat.size > maxBytes) return { fault: wholeFile(file, 'is larger than 1 MiB') };
    return decode(file, readFileSync(fd));
  } catch (error) {
    return { fault: unreadable(file, error) };
  } finally {
    closeSync(fd);
  }
}

function decode(file: string, bytes: Buffer): TextOrFault {
  const [first, second, third] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    return { fault: { ...encodingFault(file, bytes, 0), message: 'the file is UTF-16', hint: 'save it as UTF-8' } };
  }
  if (first === 0xef && second === 0xbb && third === 0xbf) {
    const message = 'the file starts with a byte order mark';
    return { fault: { ...encodingFault(file, bytes, 0), message, hint: 'save it as UTF-8 without BOM' } };
  }
  const bad = firstInvalidByte(bytes);
  if (bad !== undefined) {
    const message = `the byte 0x${(bytes[bad] ?? 0).toString(16).padStart(2, '0')} is not UTF-8`;
    return { fault: { ...encodingFault(file, bytes, bad), message, hint: 'save the file as UTF-8' } };
  }
  const text = bytes.toString('utf8');
  // YAML 1.2, 5.1: of the control characters only tab and line ends are allowed
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const control = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.exec(text);
  if (control !== null) {
    const code = control[0].charCodeAt(0).toString(16).padStart(2, '0');
    const offset = Buffer.byteLength(text.slice(0, control.index));
    return {
      fault: {
        ...encodingFault(file, bytes, offset),
        message: `the control character 0x${code} can not be in a configuration`,
      },
    };
  }
  return { text };
}

/** Decoding puts U+FFFD for what is malformed, so encoding again differs from there on. */
function firstInvalidByte(bytes: Buffer): number | undefined {
  if (isUtf8(bytes)) return undefined;
  const again = Buffer.from(bytes.toString('utf8'));
  const offset = bytes.findIndex((byte, index) => byte !== again[index]);
  return offset < 0 ? bytes.length - 1 : offset;
}

function encodingFault(file: string, bytes: Buffer, offset: number): Fault {
  const before = bytes.subarray(0, offset).toString('utf8');
  const lineStart = before.lastIndexOf('\n') + 1;
  const byteStart = bytes.subarray(0, offset).lastIndexOf(0x0a) + 1;
  const newline = bytes.indexOf(0x0a, offset);
  const text = bytes
    .subarray(byteStart, newline < 0 ? bytes.length : newline)
    .toString('utf8')
    .replace(/\r$/, '');
  const place: Place = {
    file,
    line: before.split('\n').length,
    column: before.length - lineStart + 1,
    length: 1,
    text,
  };
  return { ...place, severity: 'fault', code: 'ERR_CONFIG_ENCODING', path: '', message: '' };
}

function unreadable(file: string, error: unknown): Fault {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return wholeFile(file, 'there is no such file', 'name another with -c FILE');
  if (code === 'EACCES')
    return wholeFile(file, 'may not be read by this user', 'check the rights of the file and of its directories');
  return wholeFile(file, `can not be read: ${message}`);
}

function wholeFile(file: string, message: string, hint?: string): Fault {
  return { file, severity: 'fault', code: 'ERR_CONFIG_FILE', path: '', message, hint };
}
