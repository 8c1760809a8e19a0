// SPDX-License-Identifier: MIT
// Mixed traffic, in a process of its own: visitors who come one after the other, and guests who stay for a while.
import { setTimeout as wait } from 'node:timers/promises';
import { within } from '../../src/time-limit.ts';
import { serve } from '../bench.d/helper.ts';
import { type Scene, type Visit, WrongError } from './scene.ts';
import { stay } from './talking-visits.ts';
import { visits } from './visits.ts';

export interface VisitorOptions {
  readonly ports: Scene['ports'];
  /** At a time. */
  readonly visitors: number;
  readonly guests: number;
  /** Most milliseconds between two visits of one visitor. */
  readonly pauseMs: number;
  readonly seed: number;
}

export interface Fault {
  readonly at: number;
  readonly visit: string;
  readonly what: string;
}

export interface VisitCounts {
  /** By kind, those that saw what they should. */
  readonly done: Readonly<Record<string, number>>;
  readonly faults: readonly Fault[];
  /** Ended by a killed worker: those that had had an answer, and all. */
  readonly lostAnswered: number;
  readonly lost: number;
}

const visitLimitMs = 90_000;
const stayLimitMs = 300_000;
const mostFaults = 50;
const done: Record<string, number> = {};
const faults: Fault[] = [];
const tickets: Scene['tickets'] = { '1.2': [], '1.3': [] };
let [lost, lostAnswered, faultCount] = [0, 0, 0];
let going = false;
let loops: Promise<unknown> = Promise.resolve();
/** One more with every beginning and every end of a kill; odd while one is under way. */
let kills = 0;

const calls = {
  start({ ports, visitors, guests, pauseMs, seed }: VisitorOptions): void {
    going = true;
    const random = randomFrom(seed);
    const names = Object.entries(visits).flatMap(([name, { weight }]) => Array<string>(weight).fill(name));
    const scene = { ports, random, tickets, wait: (ms: number) => wait(ms) };
    const visitor = async (): Promise<void> => {
      while (going) {
        const name = names[Math.floor(random() * names.length)] as string;
        await one(name, visits[name]?.visit as Visit, scene);
        await wait(random() * pauseMs);
      }
    };
    const guest = async (): Promise<void> => {
      await wait(random() * 30_000);
      while (going) await one('guest', stay, { ...scene, wait: leaving }, stayLimitMs);
    };
    loops = Promise.all([...Array.from({ length: visitors }, visitor), ...Array.from({ length: guests }, guest)]);
  },
  /** Settles when the last has left. */
  async stop(): Promise<void> {
    going = false;
    await loops;
  },
  /** A worker is about to be killed; then: another one serves. What is open between may end by a reset. */
  killing(): void {
    kills++;
  },
  counts: (): VisitCounts => ({ done, faults, lost, lostAnswered }),
};
export type VisitorCalls = typeof calls;

/** Guests leave soon when all is over. */
async function leaving(ms: number): Promise<void> {
  await wait(going ? ms : 0);
}

async function one(name: string, visit: Visit, scene: Omit<Scene, 'answered'>, limitMs = visitLimitMs): Promise<void> {
  const before = kills;
  let answered = false;
  const answer = () => {
    answered = true;
  };
  const late = (): never => {
    throw new WrongError(`not done after ${limitMs / 1000} s`);
  };
  try {
    await within(visit({ ...scene, answered: answer }), limitMs, late);
    done[name] = (done[name] ?? 0) + 1;
  } catch (error) {
    const killed = before % 2 === 1 || kills !== before;
    if (killed && !(error instanceof WrongError)) {
      lost++;
      if (answered) lostAnswered++;
    } else fault(name, error);
  }
}

function fault(visit: string, error: unknown): void {
  faultCount++;
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  if (faultCount <= mostFaults) faults.push({ at: Date.now(), visit, what });
}

/** Mulberry32: the same visits for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// A record that can't be opened is found in the handler of an event.
process.on('uncaughtException', (error) => fault('any', error));
process.on('unhandledRejection', (error) => fault('any', error));
serve(calls);
