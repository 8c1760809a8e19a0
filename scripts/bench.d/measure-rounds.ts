// SPDX-License-Identifier: MIT
// One subject through its rounds under the load: what became of the sessions, how long streams stood still, what is left of it.
import { histogramQuantile, nowUs, pausesOf, quantile, type Window } from './delays.ts';
import { Load, type LoadOptions, type TakenDelays } from './load.ts';
import { type Noise, watchNoise } from './machine.ts';
import { cpuSeconds, openFiles, portUse, proportionalBytes } from './processes.ts';
import type { Round, Subject, SubjectKind } from './subject.ts';
import type { Visits } from './visitor.ts';

export interface RoundsOptions extends LoadOptions {
  readonly rounds: number;
  /** Idle sessions that come after every round, to stay. */
  readonly arrivals: number;
  /** Before every round, to see what is usual. */
  readonly quietMs: number;
  readonly roundMs: number;
}

/** Of streams, in microseconds: longest of a round, over all streams and rounds. */
export interface Pauses {
  readonly longestUs: number;
  readonly p99Us: number;
}

export interface Stock {
  readonly processes: number;
  /** Sum over the processes; undefined: the kernel does not tell us. */
  readonly bytes?: number | undefined;
  readonly files: number;
}

export interface Result {
  readonly name: string;
  readonly version: string;
  readonly rounds: number;
  /** Rounds after which other processes listened than before. */
  readonly replaced: number;
  readonly sessions: {
    readonly opened: number;
    readonly streaming: number;
    /** Ended without their client's doing. */
    readonly cut: number;
    readonly reset: number;
    /** Seconds from the first round to the first and the last of them. */
    readonly cutAfterS?: readonly [number, number] | undefined;
    /** Idle ones that answered at the end. */
    readonly answering: number;
    /** In processes that no longer listen. */
    readonly inOldProcesses: number;
    readonly oldProcesses: number;
  };
  /** At the end, in words. */
  readonly carriers?: string | undefined;
  readonly streams: { readonly bytes: number; readonly wrong: number };
  readonly visits: Visits;
  /** Before any session; with the sessions, before and after the rounds; when all sessions have ended. */
  readonly empty: Stock;
  readonly loaded: Stock;
  readonly after: Stock;
  readonly ended: Stock;
  /** Seconds of CPU a round that the load alone would not have taken; median. */
  readonly cpuPerRound: number;
  readonly usualUs: number;
  readonly pauses: Readonly<Record<PauseName, Pauses>>;
  readonly phases: readonly { readonly name: string; readonly medianMs: number; readonly longestMs: number }[];
  readonly told: readonly Round['told'][];
  readonly noise: Noise;
}

const pauseNames = ['quiet', 'round', 'moving', 'directQuiet', 'directRound', 'directMoving'] as const;
export type PauseName = (typeof pauseNames)[number];

const settleMs = 300;
const endLimitMs = 10_000;

export async function measureRounds(kind: SubjectKind, options: RoundsOptions): Promise<Result> {
  const load = new Load(options);
  let subject: Subject | undefined;
  try {
    const sessions = options.idle + options.streaming + options.rounds * options.arrivals + 100;
    subject = await kind.start({ backendPort: await load.listen(), sessions, roundMs: options.roundMs });
    const result = await new Measurement(subject, load, options).run();
    return result;
  } finally {
    await load.end().finally(() => subject?.stop());
  }
}

class Measurement {
  readonly #subject: Subject;
  readonly #load: Load;
  readonly #options: RoundsOptions;
  readonly #noise = watchNoise();
  readonly #rounds: Round[] = [];
  readonly #cpu: number[] = [];
  readonly #pauses = Object.fromEntries(pauseNames.map((name) => [name, [] as number[]])) as Record<
    PauseName,
    number[]
  >;
  #usualUs = 0;
  #replaced = 0;

  constructor(subject: Subject, load: Load, options: RoundsOptions) {
    this.#subject = subject;
    this.#load = load;
    this.#options = options;
  }

  async run(): Promise<Result> {
    const subject = this.#subject;
    const load = this.#load;
    const empty = this.#stock();
    await load.open(subject.port);
    await wait(this.#options.quietMs);
    await this.#findUsual();
    const loaded = this.#stock();
    const started = nowUs();
    for (let round = 0; round < this.#options.rounds; round++) await this.#round();
    const visits = await load.visits();
    const { sessions: held, listening } = portUse(subject.port, subject.pids());
    const old = [...held].filter(([pid]) => !listening.includes(pid));
    const after = this.#stock();
    const carriers = await subject.carriers?.();
    const streams = await load.stopStreams();
    const answering = await load.ping();
    const cuts = await load.cuts();
    const times = cuts.map(({ atUs }) => (atUs - started) / 1e6);
    const noise = this.#noise();
    await load.close();
    return {
      name: subject.name,
      version: subject.version,
      rounds: this.#rounds.length,
      replaced: this.#replaced,
      sessions: {
        opened: load.idle + this.#options.streaming,
        streaming: this.#options.streaming,
        cut: cuts.length,
        reset: cuts.filter(({ how }) => how === 'reset').length,
        cutAfterS: times.length === 0 ? undefined : [Math.min(...times), Math.max(...times)],
        answering,
        inOldProcesses: old.reduce((sum, [, count]) => sum + count, 0),
        oldProcesses: old.length,
      },
      carriers,
      streams,
      visits,
      empty,
      loaded,
      after,
      ended: await this.#settled(empty),
      cpuPerRound: quantile(this.#cpu, 0.5),
      usualUs: this.#usualUs,
      pauses: this.#pauseResults(),
      phases: phaseResults(this.#rounds),
      told: this.#rounds.map(({ told }) => told),
      noise,
    };
  }

  async #findUsual(): Promise<void> {
    await this.#load.take();
    await wait(this.#options.quietMs);
    const taken = await this.#load.take();
    this.#usualUs = histogramQuantile(
      taken.proxied.map(({ histogram }) => histogram),
      0.5,
    );
  }

  /** Quiet for a while, a round, and whatever comes of it late. */
  async #round(): Promise<void> {
    const { quietMs, arrivals } = this.#options;
    const quiet = await this.#during(() => wait(quietMs));
    const before = portUse(this.#subject.port, this.#subject.pids()).listening;
    const { result, ...round } = await this.#during(async () => {
      const done = await this.#subject.round();
      await wait(settleMs);
      return done;
    });
    const now = portUse(this.#subject.port, this.#subject.pids()).listening;
    if (String(now) !== String(before)) this.#replaced++;
    this.#rounds.push(result);
    this.#cpu.push(round.cpu - (quiet.cpu / lengthOf(quiet.window)) * lengthOf(round.window));
    this.#addPauses('quiet', quiet.taken, quiet.window);
    this.#addPauses('round', round.taken, round.window);
    if (result.moving !== undefined) this.#addPauses('moving', round.taken, result.moving);
    await this.#load.openIdle(arrivals);
    await this.#load.take();
  }

  async #during<T>(work: () => Promise<T>) {
    await this.#load.take();
    const fromUs = nowUs();
    const cpu = cpuSeconds(this.#subject.pids());
    const result = await work();
    const spent = cpuSeconds(this.#subject.pids()) - cpu;
    const window = { fromUs, toUs: nowUs() };
    return { result, taken: await this.#load.take(), window, cpu: spent };
  }

  #addPauses(name: 'quiet' | 'round' | 'moving', { proxied, direct }: TakenDelays, window: Window): void {
    const slow = (of: TakenDelays['proxied']) => of.flatMap((each) => each.slow);
    const directName = ({ quiet: 'directQuiet', round: 'directRound', moving: 'directMoving' } as const)[name];
    this.#pauses[name].push(...pausesOf(slow(proxied), this.#load.streamIds, window, this.#usualUs));
    this.#pauses[directName].push(...pausesOf(slow(direct), this.#load.directIds, window, 0));
  }

  #pauseResults(): Result['pauses'] {
    const entries = pauseNames.map((name) => {
      const all = this.#pauses[name];
      return [name, { longestUs: quantile(all, 1), p99Us: quantile(all, 0.99) }];
    });
    return Object.fromEntries(entries) as Result['pauses'];
  }

  #stock(): Stock {
    const pids = this.#subject.pids();
    return { processes: pids.length, bytes: proportionalBytes(pids), files: openFiles(pids) };
  }

  /** When it is down to what it had with no session, or does not get there. */
  async #settled({ processes, files }: Stock): Promise<Stock> {
    const until = performance.now() + endLimitMs;
    for (;;) {
      const now = this.#stock();
      if ((now.processes <= processes && now.files <= files) || performance.now() > until) return now;
      await wait(50);
    }
  }
}

function phaseResults(rounds: readonly Round[]): Result['phases'] {
  const names = new Set(rounds.flatMap(({ phases }) => phases.map(({ name }) => name)));
  return [...names].map((name) => {
    const all = rounds.flatMap(({ phases }) => phases.filter((phase) => phase.name === name).map(({ ms }) => ms));
    return { name, medianMs: quantile(all, 0.5), longestMs: quantile(all, 1) };
  });
}

function lengthOf({ fromUs, toUs }: Window): number {
  return toUs - fromUs;
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
