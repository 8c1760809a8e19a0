// SPDX-License-Identifier: MIT
// What `ironsocket doctor --json` prints. docs/doctor.md describes it; `format` grows when something in it changes its meaning or
// goes away, not when something is added.
import { type Choice, chooseEngines, type Verdict, verdicts } from './engine-choice.ts';
import type { Facts, FileLimits, OpensslFacts, PipeLimits, Surroundings } from './facts.ts';
import type { Finding } from './finding.ts';
import { kernelFindings } from './kernel-findings.ts';
import { allowedConnections, machineFindings } from './machine-findings.ts';

/** null: not known here. */
export interface Report {
  readonly format: 1;
  readonly ironsocket: string;
  readonly kernel: {
    readonly release: string;
    readonly version: string;
    /** Upstream's number, `6.1.176`, or `6.8` where the patch level is not told. */
    readonly upstream: string | null;
    /** Keys, rekey and the rest mean nothing unless `ulp` is `ok`. */
    readonly tls: Facts['probe'];
    readonly modules: Facts['modules'];
  };
  readonly engines: readonly Choice[];
  readonly verdicts: readonly Verdict[];
  readonly devices: Exclude<Facts['devices'], string> | null;
  readonly limits: {
    readonly files: { readonly [K in keyof FileLimits]: number | 'unlimited' | null };
    readonly pipes: { readonly [K in keyof PipeLimits]: number | null };
    readonly connections: number | null;
  };
  readonly openssl: OpensslFacts;
  readonly surroundings: { readonly [K in keyof Surroundings]: Surroundings[K] | null };
  readonly findings: readonly Finding[];
}

export function makeReport(facts: Facts): Report {
  const { kernel, upstream, probe, files, pipes, surroundings } = facts;
  const engines = chooseEngines(probe);
  const patch = upstream?.patch === undefined ? '' : `.${upstream.patch}`;
  return {
    format: 1,
    ironsocket: facts.ironsocket,
    kernel: {
      release: kernel.release,
      version: kernel.version,
      upstream: upstream === undefined ? null : `${upstream.series}${patch}`,
      tls: probe,
      modules: facts.modules,
    },
    engines,
    verdicts: verdicts(engines),
    devices: typeof facts.devices === 'string' ? null : facts.devices,
    limits: {
      files: {
        soft: limit(files.soft),
        hard: limit(files.hard),
        nrOpen: limit(files.nrOpen),
        fileMax: limit(files.fileMax),
      },
      pipes: { maxSize: pipes.maxSize ?? null, userPagesSoft: pipes.userPagesSoft ?? null },
      connections: allowedConnections(facts) ?? null,
    },
    openssl: facts.openssl,
    surroundings: {
      ...surroundings,
      mayLoadTls: surroundings.mayLoadTls ?? null,
      seccomp: surroundings.seccomp ?? null,
    },
    findings: [...kernelFindings(facts), ...machineFindings(facts)],
  };
}

function limit(value: number | undefined): number | 'unlimited' | null {
  if (value === undefined) return null;
  return Number.isFinite(value) ? value : 'unlimited';
}
