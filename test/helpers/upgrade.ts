// SPDX-License-Identifier: MIT
// Upgrades of a proxy under test, and other versions to upgrade to.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask } from '../../src/admin/client.ts';
import { controlDirectory } from '../../src/admin/places.ts';
import type { Phase, UpgradeReport } from '../../src/upgrade/report.ts';
import { ironsocket } from './commands.ts';
import { root } from './installation.ts';
import type { LogLine } from './log-lines.ts';
import type { RunningProxy } from './proxy.ts';
import { timeFactor } from './time.ts';

/** SIGUSR2; gives the generation when the new master serves and the keeper has been replaced. Throws when the upgrade fails. */
export async function upgradeBySignal(proxy: RunningProxy): Promise<number> {
  const from = proxy.log.lines.length;
  process.kill(proxy.keeperPid, 'SIGUSR2');
  // The outcome of one that was asked for before may still be on its way to us.
  const signal = await proxy.log.waitFor({ event: 'signal_received', signal_string: 'SIGUSR2' }, { from });
  const since = proxy.log.lines.indexOf(signal);
  // It gives up by itself after 30 s.
  const end = await proxy.log.waitFor({ event: 'upgrade', outcome: /./ }, { from: since, ms: 40_000 });
  if (end.outcome !== 'committed') throw new Error(`the upgrade failed: ${end.error_msg}\n${proxy.log.tail()}`);
  await proxy.log.waitFor({ event: 'keeper', state: 'replaced' }, { from });
  return Number(end.generation);
}

/**
 * Asks for an upgrade as the command does, without a process for it, and with the time that tests have; its report, once the keeper has
 * been replaced. Throws when it fails.
 */
export async function upgradeAsked(proxy: RunningProxy): Promise<UpgradeReport> {
  const from = proxy.log.lines.length;
  const timeoutMs = 30_000 * timeFactor;
  const report = await ask(controlOf(proxy), { command: 'upgrade', timeoutMs }, () => {}, timeoutMs);
  await proxy.log.waitFor({ event: 'keeper', state: 'replaced' }, { from });
  return report as UpgradeReport;
}

export interface UpgradeOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly report: UpgradeReport | undefined;
}

/** `ironsocket upgrade --json` with more arguments. */
export async function upgradeByCommand(proxy: RunningProxy, ...args: readonly string[]): Promise<UpgradeOutcome> {
  const { code, stdout, stderr } = await ironsocket('upgrade', '--control', controlOf(proxy), '--json', ...args);
  return { code, stdout, stderr, report: code === 0 ? (JSON.parse(stdout) as UpgradeReport) : undefined };
}

export interface PausedUpgrade {
  readonly upgrade: Promise<UpgradeOutcome>;
  /** The line of the log that says that it stands still, and those before it that are not its own. */
  readonly paused: LogLine;
  readonly from: number;
}

/**
 * An upgrade by command that stands still at the end of a phase before the commit, until its timeout of `seconds` ends it, of which at
 * least half are left. Where the machine took longer on the way there, it is tried again with twice as many: one that fails leaves all
 * as it was.
 */
export async function upgradePaused(proxy: RunningProxy, phase: Phase, seconds: number): Promise<PausedUpgrade> {
  const from = proxy.log.lines.length;
  const begun = performance.now();
  const upgrade = upgradeByCommand(proxy, '--pause-at', phase, '--timeout', `${seconds}s`);
  const ended = upgrade.then(() => undefined);
  const paused = proxy.log.waitFor({ event: 'upgrade', phase, paused: 'true' }, { from, ms: 60_000 });
  paused.catch(() => {});
  const line = await Promise.race([paused, ended]);
  if (line !== undefined && performance.now() - begun < 500 * seconds) return { upgrade, paused: line, from };
  const { code, stderr } = await upgrade;
  if (code !== 75 || !stderr.includes('in time') || seconds > 30) throw new Error(`no upgrade (${code}): ${stderr}`);
  return upgradePaused(proxy, phase, 2 * seconds);
}

/** Path of its control socket. */
export const controlOf = ({ keeperPid }: RunningProxy): string => join(controlDirectory(), `${keeperPid}.sock`);

/** A copy of this project with another version. `change` may spoil it. Removed by `remove`. */
export function otherVersion(version: string, change: (directory: string) => void = () => {}) {
  const directory = mkdtempSync(join(tmpdir(), 'ironsocket-version-'));
  for (const part of ['dist', 'package.json']) cpSync(join(root, part), join(directory, part), { recursive: true });
  mkdirSync(join(directory, 'build/Release'), { recursive: true });
  for (const file of ['keeper', 'ironsocket.node']) {
    cpSync(join(root, 'build/Release', file), join(directory, 'build/Release', file));
  }
  if (existsSync(join(root, 'node_modules'))) symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  setVersion(directory, version);
  change(directory);
  return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

export function setVersion(directory: string, version: string): void {
  const file = join(directory, 'package.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), version }));
}

/** Has the addon of a copy write another version of the frames and messages in which sessions travel (native/handoff/version.cc). */
export function setHandoffVersion(directory: string, version: number): void {
  const file = join(directory, 'build/Release/ironsocket.node');
  const mark = Buffer.from('ironsocket-handoff-v=\0', 'latin1');
  const addon = readFileSync(file);
  const at = addon.indexOf(mark);
  if (at < 0 || addon.indexOf(mark, at + 1) >= 0) throw new Error('the mark is not there once');
  addon.writeUInt16LE(version, at + mark.length);
  writeFileSync(file, addon);
}
