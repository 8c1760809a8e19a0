// SPDX-License-Identifier: MIT
// The control socket of the service: made by the first master, held by the keeper, and served by whichever master is at work.
import { rmSync } from 'node:fs';
import { controlPath, makeControlDirectory } from '../admin/places.ts';
import type { AdminRequest } from '../admin/protocol.ts';
import { type AdminHandler, serveAdmin } from '../admin/server.ts';
import { SystemError } from '../errors.ts';
import { native } from '../native.ts';
import { failure, log } from '../observe/log.ts';
import { pausePoints, type UpgradeRequest } from '../upgrade/report.ts';
import { defaultTimeoutMs } from '../upgrade/upgrader.ts';
import type { Service } from './service.ts';
import { statusOf } from './status.ts';

const heldName = 'control';
const backlog = 64;
const ownerOnly = 0o600;

/** Commands that the service takes, by name. */
function handlersOf(service: Service): Readonly<Record<string, AdminHandler>> {
  return {
    status: async () => statusOf(service),
    reload: () => service.reloader.reload('command'),
    upgrade: (request, tell) => service.upgrader.upgrade(upgradeRequest(request), tell),
  };
}

/** What an upgrade is asked for with; what makes no sense of it is left out. */
export function upgradeRequest({ to, check, timeoutMs, pauseAt }: AdminRequest): UpgradeRequest {
  return {
    trigger: 'command',
    to: typeof to === 'string' ? to : undefined,
    check: check === true,
    timeoutMs: typeof timeoutMs === 'number' && timeoutMs > 0 ? timeoutMs : defaultTimeoutMs,
    pauseAt: pausePoints.find((point) => point === pauseAt),
  };
}

/** Throws SystemError when the socket that the configuration names can't be had; without the default one the service works as well. */
export function openControl(service: Service): void {
  const { keeper, state } = service;
  const { config } = state.current;
  const held = keeper.held.get(heldName);
  // A dead master's service goes on as it was.
  const path = held === undefined && keeper.start === 0 ? controlPath(config, process.ppid) : undefined;
  if (held === undefined && path === undefined) return;
  try {
    const fd = held ?? listenAt(path ?? '', config.control === undefined);
    if (held === undefined) keeper.put(heldName, fd);
    service.control = pathOf(fd);
    const server = serveAdmin(fd, handlersOf(service));
    service.closeControl = () => new Promise((resolve) => server.close(() => resolve()));
  } catch (error) {
    if (config.control !== undefined && keeper.start === 0) throw error;
    log('warn', 'system_error', failure('status, reload and upgrade can not be asked for by command', error));
  }
}

/** The end of the service: commands find nobody any more. Also of a socket that this master was told to stop before it could open. */
export function removeControl({ control, keeper }: Service): void {
  const held = keeper.held.get(heldName);
  const path = control ?? (held === undefined ? undefined : pathOf(held));
  if (path !== undefined) rmSync(path, { force: true });
}

function pathOf(fd: number): string {
  return native.localAddress({ fd }).slice('unix:'.length);
}

function listenAt(path: string, isDefault: boolean): number {
  try {
    if (isDefault) makeControlDirectory(path);
    return native.listen({ address: `unix:${path}`, backlog, v6Only: false, mode: ownerOnly });
  } catch (cause) {
    if (cause instanceof SystemError) throw cause;
    const { code = 'UNKNOWN', message } = cause as NodeJS.ErrnoException;
    const hint = 'set "control" to another path, or to off';
    throw new SystemError(`can't make the control socket ${path}: ${message}`, { code, hint, cause });
  }
}
