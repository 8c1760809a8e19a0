// SPDX-License-Identifier: MIT
// The log of a proxy under test: parsed from logfmt, kept whole, and waited for by content.
import { connectedSince } from './peer.ts';
import { timeFactor } from './time.ts';

export type LogLine = Readonly<Record<string, string>>;
export type Match = Readonly<Record<string, string | number | RegExp>>;

const field = /\s*([A-Za-z0-9_.-]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)/y;

/** Parses one line; throws when it is not logfmt from its first byte to its last. */
export function parseLogfmt(line: string): LogLine {
  const fields: Record<string, string> = {};
  field.lastIndex = 0;
  for (let at = 0; at < line.length; at = field.lastIndex) {
    const match = field.exec(line);
    if (match === null) throw new Error(`not logfmt at column ${at + 1}: ${line}`);
    const [, key = '', value = ''] = match;
    fields[key] = value.startsWith('"') ? unquote(value.slice(1, -1)) : value;
  }
  return fields;
}

function unquote(text: string): string {
  const named: Record<string, string> = { n: '\n', r: '\r', t: '\t' };
  return text.replace(/\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.)/gis, (_, code: string) =>
    code.length > 1 ? String.fromCharCode(Number.parseInt(code.slice(1), 16)) : (named[code] ?? code),
  );
}

export class LogLines {
  readonly lines: LogLine[] = [];
  /** Lines that are no logfmt, such as a stack trace. */
  readonly strange: string[] = [];
  #rest = '';
  readonly #waiting = new Set<() => void>();

  push(text: string): void {
    const parts = (this.#rest + text).split('\n');
    this.#rest = parts.pop() ?? '';
    for (const part of parts) {
      try {
        this.lines.push(parseLogfmt(part));
      } catch {
        this.strange.push(part);
      }
    }
    for (const look of this.#waiting) look();
  }

  all(match: Match): LogLine[] {
    return this.lines.filter((line) => matches(line, match));
  }

  /**
   * The first line that matches, also when it has come already; `from` leaves out that many lines at the start. It has `ms`
   * milliseconds, 15 s if left out, times the factor of time.ts. Lines of an earlier client with the same `client_port` are not
   * meant.
   */
  waitFor(match: Match, options: { readonly from?: number; readonly ms?: number } = {}): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      let next = options.from ?? 0;
      const since = connectedSince.get(Number(match.client_port)) ?? 0;
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
      };
      const look = (): void => {
        for (; next < this.lines.length; next++) {
          const line = this.lines[next];
          if (line === undefined || !matches(line, match) || Date.parse(line.timestamp ?? '') < since) continue;
          done();
          resolve(line);
          return;
        }
      };
      const timer = setTimeout(
        () => {
          done();
          reject(new Error(`no log line ${describe(match)}; the last ones:\n${this.tail()}`));
        },
        (options.ms ?? 15_000) * timeFactor,
      );
      this.#waiting.add(look);
      look();
    });
  }

  tail(count = 6): string {
    const lines = this.lines.slice(-count).map((line) =>
      Object.entries(line)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
    );
    return [...lines, ...this.strange.slice(-count)].join('\n');
  }
}

function describe(match: Match): string {
  return Object.entries(match)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

function matches(line: LogLine, match: Match): boolean {
  return Object.entries(match).every(([key, value]) => {
    const has = line[key];
    if (has === undefined) return false;
    return value instanceof RegExp ? value.test(has) : has === String(value);
  });
}
