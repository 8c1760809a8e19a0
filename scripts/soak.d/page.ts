// SPDX-License-Identifier: MIT
// A soak as a page to look at: memory, descriptors, sessions and latency over time, and the verdict under them.
import { quantile } from '../bench.d/delays.ts';
import { type Noise, noiseText } from '../bench.d/machine.ts';
import { counted } from '../command-line.ts';
import type { History, Mark } from './history.ts';
import type { Reading } from './probe.ts';
import { conclusion, number, verdictText } from './table.ts';
import type { Verdict } from './verdict.ts';

interface Line {
  readonly name: string;
  readonly color: string;
  /** Seconds and value. */
  readonly points: readonly (readonly [number, number])[];
}

const mib = 2 ** 20;
const width = 1000;
const height = 220;
const margin = { left: 60, right: 130, top: 26, bottom: 24 } as const;
const colors = { a: '#1f6feb', b: '#d1242f', c: '#1a7f37', d: '#9a6700' } as const;
const markColors: Readonly<Record<string, string>> = {
  upgrade: '#8c959f',
  kill: '#d1242f',
  'master killed': '#bf8700',
};
/** Latencies of so many seconds make a point. */
const latencySeconds = 10;

export function pageOf(history: History, verdict: Verdict, where: string, noise: Noise): string {
  const { glances } = history;
  const line = (name: string, color: string, value: (glance: (typeof glances)[number]) => number): Line => {
    return { name, color, points: glances.map((glance) => [glance.at, value(glance)]) };
  };
  const charts = [
    chart('Memory (PSS), MiB', history, [
      line('worker', colors.a, ({ memory }) => memory.worker / mib),
      line('master', colors.c, ({ memory }) => memory.master / mib),
      line('keeper', colors.d, ({ memory }) => memory.keeper / mib),
      line('leaving', colors.b, ({ memory }) => memory.leaving / mib),
    ]),
    chart('Open files', history, [
      line('worker', colors.a, ({ files }) => files.worker),
      line('leaving', colors.b, ({ files }) => files.leaving),
    ]),
    chart('Open files of those without sessions', history, [
      line('master', colors.c, ({ files }) => files.master),
      line('keeper', colors.d, ({ files }) => files.keeper),
    ]),
    chart('Sessions and connections', history, [
      line('connections', colors.b, ({ connections }) => connections),
      line('sessions', colors.a, ({ sessions }) => sessions),
    ]),
    chart('A small request, ms', history, latency(history, history.requests), true),
    chart('A fresh handshake, ms (at the limit it waits)', history, latency(history, history.handshakes), true),
  ];
  const legend = Object.entries(markColors).map(([name, color]) => `<span style="color:${color}">│ ${name}</span>`);
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ironsocket: soak</title>
<style>body{font:14px system-ui,sans-serif;max-width:1040px;margin:2em auto;color:#1f2328}
svg{display:block;margin:1em 0}svg text{font:11px system-ui,sans-serif;fill:#59636e}pre{overflow-x:auto}</style>
<h1>Soak: ${conclusion(verdict.flat, verdict.right)}</h1>
<p>${escaped(where)}; ${Math.round(history.now() / 60)} minutes, ${history.upgrades.length} upgrades, ${counted(history.kills.length, 'worker')} and ${counted(history.mastersKilled, 'master')} killed. ${legend.join(' &nbsp; ')}</p>
${charts.join('\n')}
<pre>${escaped(verdictText(history, verdict))}
machine: ${noiseText(noise)}</pre>
</html>
`;
}

function latency(history: History, readings: readonly Reading[]): Line[] {
  const slots = new Map<number, number[]>();
  for (const { at, us } of readings) {
    const slot = Math.floor((at - history.started) / 1000 / latencySeconds);
    const list = slots.get(slot);
    if (list === undefined) slots.set(slot, [us / 1000]);
    else list.push(us / 1000);
  }
  const line = (name: string, color: string, part: number): Line => {
    const points = [...slots].map(([slot, values]) => [slot * latencySeconds, quantile(values, part)] as const);
    return { name, color, points };
  };
  return [line('p99', colors.b, 0.99), line('p50', colors.a, 0.5)];
}

function chart(title: string, history: History, lines: readonly Line[], logarithmic = false): string {
  const points = lines.flatMap((line) => line.points);
  const longest = Math.max(1, ...history.glances.map(({ at }) => at));
  const highest = Math.max(1e-9, ...points.map(([, y]) => y));
  const lowest = logarithmic ? Math.max(0.01, Math.min(highest, ...points.map(([, y]) => y))) : 0;
  const scale = logarithmic
    ? (y: number) => Math.log(Math.max(y, lowest) / lowest) / (Math.log(highest / lowest) || 1)
    : (y: number) => y / highest;
  const right = width - margin.right;
  const bottom = height - margin.bottom;
  const x = (seconds: number) => (margin.left + (seconds / longest) * (right - margin.left)).toFixed(1);
  const y = (value: number) => (bottom - scale(value) * (bottom - margin.top)).toFixed(1);
  const marks = history.marks.flatMap((mark) => markLine(mark, x, bottom));
  const paths = lines.map(({ name, color, points: own }, i) => {
    const path = own.map(([at, value]) => `${x(at)},${y(value)}`).join(' ');
    const last = own.at(-1)?.[1] ?? 0;
    const label = `<text x="${right + 8}" y="${margin.top + 14 * (i + 1)}" style="fill:${color}">${name} ${number(last)}</text>`;
    return `<polyline fill="none" stroke="${color}" stroke-width="1.2" points="${path}"/>${label}`;
  });
  const minutes = Math.max(1, Math.ceil(longest / 60 / 10));
  const ticks = Array.from({ length: Math.floor(longest / 60 / minutes) + 1 }, (_, i) => i * minutes).map(
    (at) => `<text x="${x(at * 60)}" y="${height - 8}" text-anchor="middle">${at} min</text>`,
  );
  const decades = Array.from({ length: 8 }, (_, i) => 10 ** (i - 2)).filter(
    (at) => at > lowest * 1.5 && at < highest / 1.5,
  );
  const levels = (logarithmic ? [lowest, ...decades, highest] : [0, highest / 2, highest]).map((level) => {
    const line = `<path d="M${margin.left} ${y(level)}H${right}" stroke="#d1d9e0" stroke-width="0.5"/>`;
    return `${line}<text x="${margin.left - 6}" y="${y(level)}" text-anchor="end">${number(level)}</text>`;
  });
  const frame = `<path d="M${margin.left} ${margin.top}V${bottom}H${right}" fill="none" stroke="#d1d9e0"/>`;
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}"><text x="${margin.left}" y="14" style="font-weight:600;fill:#1f2328">${title}</text>
${frame}${marks.join('')}${paths.join('')}${ticks.join('')}${levels.join('')}</svg>`;
}

function markLine({ at, what }: Mark, x: (seconds: number) => string, bottom: number): string[] {
  const color = markColors[what];
  if (color === undefined) return [];
  return [`<path d="M${x(at)} ${margin.top}V${bottom}" stroke="${color}" stroke-width="0.7" stroke-dasharray="3 3"/>`];
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}
