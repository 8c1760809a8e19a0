// SPDX-License-Identifier: MIT
// Where something was measured, and what else the machine was busy with.
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly openssl: string;
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.versions.node,
    openssl: process.versions.openssl ?? '',
  };
}

export interface Noise {
  /** Of the last minute, our own load included. */
  readonly loadAverage: number;
  /** Part of all CPU time that the hypervisor gave to others. */
  readonly steal: number;
  /** Part of all CPU time that was idle. */
  readonly idle: number;
}

/** Starts to watch; the function that it gives tells what has been since. */
export function watchNoise(): () => Noise {
  const before = cpuTimes();
  return () => {
    const spent = cpuTimes().map((time, i) => time - (before[i] ?? 0));
    const all = spent.reduce((sum, each) => sum + each, 0) || 1;
    const [, , , idle = 0, , , , steal = 0] = spent;
    return { loadAverage: loadavg()[0] ?? 0, steal: steal / all, idle: idle / all };
  };
}

/** A line that warns of other work, where the load average is that of a machine with some; else nothing. */
export function busyText(loadAverage: number = loadavg()[0] ?? 0): string {
  if (loadAverage <= 1) return '';
  return `the machine is busy (load average ${loadAverage.toFixed(1)} before the start): its figures are worth less\n`;
}

export function noiseText({ loadAverage, steal, idle }: Noise): string {
  return `load average ${loadAverage.toFixed(2)}, ${percent(steal)} stolen, ${percent(idle)} idle`;
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`;
}

/** user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5). */
function cpuTimes(): number[] {
  const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n');
  return line.trim().split(/\s+/).slice(1, 9).map(Number);
}
