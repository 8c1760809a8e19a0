// SPDX-License-Identifier: MIT
// What the other process says on a channel: each line is a packet, with as many descriptors as its first letter says (a: none; !: there
// was no room for them), and `=` between them before the text that the first of these holds. The first line chooses who listens. Each descriptor is passed on once
// or closed once; what is passed on has a type, and looks as that type has to.
import { workerShapes } from '../../src/master/worker-shapes.ts';
import { candidateShapes, servingShapes } from '../../src/upgrade/peer.ts';
import { Packets } from '../../src/worker/packets.ts';
import type { Guidance, Target } from './guided.ts';

const listeners = [workerShapes, servingShapes, candidateShapes, undefined];

export const target: Target = (input) => {
  const [first = '', ...lines] = input.toString('utf8').split('\n');
  const shapes = listeners[first.length % listeners.length];
  const open = new Set<number>();
  const texts = new Map<number, string>();
  const close = (fd: number): void => {
    if (!open.delete(fd)) throw new Error(`descriptor ${fd} is closed twice`);
  };
  const packets = new Packets<{ readonly type: string }>(
    {
      onMessage: (message, fds) => {
        const shape = shapes?.[message.type as keyof typeof shapes] as (typeof workerShapes)['ready'] | undefined;
        if (typeof message.type !== 'string') throw new Error('a message without a type');
        if (Object.hasOwn(shapes ?? {}, message.type) && shape?.safeParse(message).success !== true)
          throw new Error('a message that looks otherwise');
        for (const fd of fds) close(fd);
      },
      onMismatch: (error) => {
        if (!/\w{3}/.test(error) || error.length > 200) throw new Error(`no sentence: ${error}`);
      },
      shapes,
    },
    {
      closeFd: ({ fd }) => close(fd),
      memfdToText: ({ fd }) => {
        const text = texts.get(fd);
        if (text === undefined || text.includes('EFBIG')) throw new Error('read: EFBIG');
        return text;
      },
    },
  );
  let next = 3;
  for (const line of lines) {
    const [packet = '', inner] = line.slice(1).split('=');
    const fds = Array.from({ length: Math.max(0, line.charCodeAt(0) - 97) % 300 || 0 }, () => next++);
    for (const fd of fds) open.add(fd);
    if (fds[0] !== undefined && inner !== undefined) texts.set(fds[0], inner);
    if (line.startsWith('!')) packets.lost(packet);
    else packets.receive(packet, fds);
  }
  packets.close();
  if (open.size > 0) throw new Error(`${open.size} descriptors are left open`);
};

export const guidance: Guidance = {
  counts: (url) =>
    /\/src\/(worker\/packets|upgrade\/peer|master\/worker-shapes)\.ts/.test(url) || url.includes('/zod/'),
  words:
    '{"v":1,"type":"|"}|"fds"|"memfd"|"fresh":true|"lost"|"status"|"state":"serving"|"state":"waiting"|"revision":|"accepting":true|"ready"|"reconfigured"|"error":"|"inventory"|"giving"|"given"|"refusal":""|"failed"|"drained"|"cut":0|"worker":{"id":1,"pid":2}|"workerPid":|"serving"|"committing"|"from":"1.0.0"|"trigger":"command"|"workers":[|"ended":[|"counters":{|"donor":1|"nextWorkerId":|"take"|"report":{|}|]|,|=|\nb|\nc|\na|\n!|\n~|null|-1|1e400|"__proto__":{|"toString"|[[[[|{"v":2|EFBIG'.split(
      '|',
    ),
};
