// SPDX-License-Identifier: MIT
// What the messages of a worker have to look like. It reads what clients send: should one of them ever take it over, its master goes
// on all the same.
import { z } from 'zod';
import type { ToMaster } from '../worker/messages.ts';

const revision = z.int().nonnegative();

export const workerShapes: Readonly<Record<ToMaster['type'], z.ZodType>> = {
  status: z.discriminatedUnion('state', [
    z.object({ state: z.enum(['waiting', 'starting']) }),
    z.object({ state: z.literal('serving'), revision, accepting: z.boolean() }),
  ]),
  ready: z.object({ revision }),
  reconfigured: z.object({ revision, error: z.string().optional() }),
  lost: z.object({}),
  inventory: z.object({}),
  giving: z.object({}),
  given: z.object({ refusal: z.string() }),
  failed: z.object({ error: z.string() }),
  drained: z.object({ cut: z.int().nonnegative() }),
};
