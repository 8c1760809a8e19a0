// SPDX-License-Identifier: MIT
// One case over many n: the n-th call fails while rounds of visits go on, then one more round without faults shows that all is well.
import type { Case, Moment } from './cases.ts';
import { faultName } from './rule.ts';
import type { Round, Scene } from './scene.ts';

/** Rounds for the n-th call to come. */
const mostRounds = 60;

export interface Swept {
  readonly name: string;
  /** Runs, and those of them in which the call came and failed. */
  runs: number;
  hits: number;
  refused: number;
  cut: number;
  /** What was wrong, with the n it was wrong at. */
  readonly faults: string[];
}

export function caseName(item: Case): string {
  const { moment = 'traffic', most = 1 } = item;
  return `${moment}: ${faultName(item)}${most > 1 ? ` ${most} times` : ''}`;
}

/** Stops early at a call that comes no more: there are less than `n` of it however long one waits. */
export async function sweep(scene: Scene, item: Case, numbers: readonly number[]): Promise<Swept> {
  const name = caseName(item);
  const swept: Swept = { name, runs: 0, hits: 0, refused: 0, cut: 0, faults: [] };
  for (const n of numbers) {
    const { rounds, hits, seen } = await run(scene, item, n);
    swept.runs++;
    swept.hits += hits;
    for (const { endings, faults } of rounds) {
      swept.refused += endings.refused;
      swept.cut += endings.cut;
      swept.faults.push(...faults.map((fault) => `n=${n}: ${fault}`));
    }
    swept.faults.push(...tooMany(item, rounds, hits).map((fault) => `n=${n}: ${fault}`));
    if (hits === 0 || swept.faults.length > 20) break;
    if (seen < n) break;
  }
  if (isOnce(item)) {
    const { round, committed } = await (item.moment === 'upgrade' ? scene.upgrade() : scene.reload());
    swept.faults.push(...round.faults.map((fault) => `afterwards: ${fault}`));
    if (!committed) swept.faults.push(`afterwards: the next ${item.moment} does not work`);
  }
  const after = await scene.round();
  swept.faults.push(...after.faults, ...tooMany(item, [after], 0).map((fault) => `afterwards: ${fault}`));
  swept.faults.push(...(await scene.leaks()));
  return swept;
}

async function run(scene: Scene, item: Case, n: number): Promise<{ rounds: Round[]; hits: number; seen: number }> {
  const rounds: Round[] = [];
  const most = item.most ?? 1;
  scene.seam.arm(item, { first: n, most });
  let before = -1;
  while (rounds.length < mostRounds) {
    rounds.push(await roundOf(scene, item.moment));
    const { hits, seen } = scene.seam.told();
    if (hits >= most || seen === before || isOnce(item)) break;
    before = seen;
  }
  const { hits, seen } = scene.seam.disarm();
  return { rounds, hits, seen };
}

/** An upgrade or a reload has so many calls and no more. */
function isOnce({ moment }: Case): boolean {
  return moment === 'upgrade' || moment === 'reload';
}

async function roundOf(scene: Scene, moment: Moment = 'traffic'): Promise<Round> {
  if (moment === 'upgrade') return (await scene.upgrade()).round;
  if (moment === 'reload') return (await scene.reload()).round;
  return scene.round(moment === 'slow' ? 'slow' : 'usual');
}

function tooMany({ victim }: Case, rounds: readonly Round[], hits: number): string[] {
  const sum = (kind: 'refused' | 'cut'): number => rounds.reduce((total, { endings }) => total + endings[kind], 0);
  const [refused, cut] = [sum('refused'), sum('cut')];
  const most = { none: 0, handshake: hits, one: hits }[victim];
  const faults: string[] = [];
  if (refused + cut > most) faults.push(`${refused} refused and ${cut} cut off by ${hits} faults`);
  else if (victim === 'handshake' && cut > 0) faults.push(`${cut} cut off where only a handshake may be`);
  return faults;
}
