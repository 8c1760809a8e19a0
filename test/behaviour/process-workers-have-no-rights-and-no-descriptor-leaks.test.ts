// SPDX-License-Identifier: MIT
// A worker meets the network, so it can do nothing but that; and no process keeps what it does not need.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { startEcho } from '../helpers/backends.ts';
import { filesAgain, settledFiles } from '../helpers/processes.ts';
import { type RunningProxy, startProxy } from '../helpers/proxy.ts';
import { RawTlsClient } from '../helpers/raw-tls-client.ts';
import { afterAll, test } from '../helpers/suite.ts';

const echo = await startEcho();
const root = process.geteuid?.() === 0;
const asRoot = { skip: root ? undefined : 'needs root' };
const config = root ? { user: 'nobody', group: 'nogroup' } : {};
const proxy = await startProxy({ listeners: [{ backend: echo.address }], config });
afterAll(() => proxy.stop());

function statusOf(pid: number, thread?: string): Record<string, string> {
  const path = thread === undefined ? `/proc/${pid}/status` : `/proc/${pid}/task/${thread}/status`;
  const rows = readFileSync(path, 'latin1')
    .split('\n')
    .map((row) => row.split(/:\s*/, 2));
  return Object.fromEntries(rows);
}

async function served({ port }: RunningProxy): Promise<void> {
  const client = await RawTlsClient.connect({ port, version: '1.3' });
  client.sendData('hello');
  await client.readData(5);
  client.peer.reset();
}

test(
  'every thread of a worker is nobody, without capabilities, and can gain none',
  () => {
    const pid = proxy.workerPid();
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const { Uid, Gid, Groups, CapEff, CapPrm, CapInh, NoNewPrivs } = statusOf(pid, thread);
      assert.equal({ Uid, Gid, Groups: Groups?.trim() }, { Uid: ids(65534), Gid: ids(65534), Groups: '65534' });
      for (const set of [CapEff, CapPrm, CapInh]) assert.match(set ?? '', /^0+$/);
      assert.is(NoNewPrivs, '1');
    }
  },
  asRoot,
);

test('all three processes are not dumpable and leave no core', () => {
  for (const pid of [proxy.keeperPid, proxy.masterPid(), proxy.workerPid()]) {
    // Files of a process that is not dumpable belong to root (proc_pid(5)).
    assert.is(statSync(`/proc/${pid}/fd`).uid, 0);
  }
  for (const pid of [proxy.masterPid(), proxy.workerPid()]) {
    assert.match(readFileSync(`/proc/${pid}/limits`, 'latin1'), /^Max core file size +0 +0 /m);
  }
});

test(
  'nothing but stdin, stdout and stderr would survive an execve',
  () => {
    const closeOnExec = 0o2000000;
    for (const pid of [proxy.keeperPid, proxy.masterPid(), proxy.workerPid()]) {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const flags = /^flags:\s+([0-7]+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
        const kept = (Number.parseInt(flags, 8) & closeOnExec) === 0;
        assert.ok(!kept || Number(fd) < 3, `${pid}: ${fd} is ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`);
      }
    }
  },
  asRoot,
);

test(
  'a worker holds no certificate, no key and no configuration',
  () => {
    const pid = proxy.workerPid();
    const targets = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    assert.equal(
      targets.filter((target) => /memfd:(pem|ironsocket)|\.(pem|crt|key|yaml)/.test(target)),
      [],
    );
  },
  asRoot,
);

test(
  'keys are in no environment and no command line',
  () => {
    for (const pid of [proxy.keeperPid, proxy.masterPid(), proxy.workerPid()]) {
      for (const file of ['environ', 'cmdline']) {
        assert.not.match(readFileSync(`/proc/${pid}/${file}`, 'latin1'), /PRIVATE KEY|NOTIFY_SOCKET|LISTEN_FDS/);
      }
    }
  },
  asRoot,
);

test('a worker never waits for its table of descriptors to grow', () => {
  const limit = Number(/^Max open files +\d+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]);
  assert.ok(Number(statusOf(proxy.workerPid()).FDSize) >= Math.min(limit, 65_536));
});

test(
  'no descriptor is left by workers that died, masters that died, and sessions',
  async () => {
    const pids = () => [proxy.keeperPid, proxy.masterPid(), proxy.workerPid()];
    const replaceAll = async (): Promise<void> => {
      let from = proxy.log.lines.length;
      process.kill(proxy.masterPid(), 'SIGKILL');
      await proxy.log.waitFor({ event: 'ready' }, { from });
      from = proxy.log.lines.length;
      process.kill(proxy.workerPid(), 'SIGKILL');
      await proxy.log.waitFor({ worker_state: 'spawned' }, { from });
      await served(proxy);
    };
    await replaceAll();
    const before = await settledFiles(pids);
    for (let i = 0; i < 3; i++) await replaceAll();
    // The last session may still be closing.
    await filesAgain(pids, before);
  },
  asRoot,
);

function ids(id: number): string {
  return Array.from({ length: 4 }, () => id).join('\t');
}
