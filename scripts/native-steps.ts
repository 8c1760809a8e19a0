// SPDX-License-Identifier: MIT
// What is built with native/CMakeLists.txt for the tests, and the steps that run it.
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { doctestCounts, doctestFailures, type Step } from './run-step.ts';

/** For the lab: without sanitizers, which would find no memory to shadow there. */
export const kernelTests = 'build-native/plain/kernel-tests';

const asan = { directory: 'build-native/asan', sanitize: 'address,undefined' };
const tsan = { directory: 'build-native/tsan', sanitize: 'thread' };

export interface NativeBuild {
  readonly step: Step;
  /** Where what it builds is. */
  readonly directory: string;
}

const products = { address: product(asan), thread: product(tsan) };

/**
 * One after the other they keep all cores busy, at a low priority because tests run beside them; first what most tests wait for. TSan
 * finds nothing in fuzz targets, which have no threads.
 */
export const nativeBuilds: readonly NativeBuild[] = [
  products.address,
  products.thread,
  build(asan.directory, asan.sanitize, 'all'),
  build(tsan.directory, tsan.sanitize, 'native-tests'),
  build('build-native/plain', '', 'speed-tests kernel-tests'),
];

/** A behaviour file with the addon and the keeper built with a sanitizer (test/helpers/installation.ts), which take longer for all. */
export function withSanitizer(step: Step, sanitizer: keyof typeof products): Step {
  return {
    ...step,
    name: `${step.name} (${sanitizer})`,
    deadline: step.deadline * 2,
    env: { ...step.env, IRONSOCKET_TEST_SANITIZER: sanitizer, IRONSOCKET_TEST_TIME_FACTOR: '2' },
    after: products[sanitizer].step.name,
  };
}

/** Native tests, what of them counts without sanitizers only, and the kept fuzz corpora. */
export function nativeSteps(): Step[] {
  // A target whose corpus is missing fails.
  const targets = readdirSync('test/fuzz').filter((name) => name.endsWith('.cc') && name !== 'replay.cc');
  return [
    nativeTests(asan),
    nativeTests(tsan),
    ...targets
      .map((file) => basename(file, '.cc'))
      .map((name) => ({
        name: `fuzz corpus ${name}`,
        command: [join(asan.directory, 'fuzz-replay'), name, `test/fuzz/corpus/${name}`],
        deadline: 120,
        after: buildName(asan.sanitize),
      })),
    {
      name: 'native tests of speed',
      command: ['build-native/plain/speed-tests'],
      deadline: 120,
      count: doctestCounts,
      failures: doctestFailures,
      alone: true,
    },
  ];
}

function nativeTests({ directory, sanitize }: typeof asan): Step {
  const env = { TSAN_OPTIONS: 'halt_on_error=1', ASAN_OPTIONS: 'detect_leaks=1' };
  return {
    name: `native tests (${sanitize})`,
    command: [join(directory, 'native-tests')],
    deadline: 240,
    count: doctestCounts,
    failures: doctestFailures,
    env,
    after: buildName(sanitize),
  };
}

function product({ directory, sanitize }: typeof asan): NativeBuild {
  const { step } = build(directory, sanitize, 'installation');
  return {
    step: { ...step, name: `native build of the product (${sanitize})` },
    directory: join(directory, 'installation'),
  };
}

function build(directory: string, sanitize: string, targets: string): NativeBuild {
  const configure = `cmake -S native -B ${directory} -DSANITIZE=${sanitize} -DCMAKE_BUILD_TYPE=RelWithDebInfo`;
  const make = `cmake --build ${directory} -j ${availableParallelism()} --target ${targets}`;
  // Each step is a session, and where the kernel schedules by session it looks at their priorities alone (sched(7), autogroup).
  const low = '[ ! -w /proc/self/autogroup ] || echo 5 >/proc/self/autogroup';
  const step = {
    name: buildName(sanitize),
    command: ['nice', 'bash', '-c', `${low}; ${configure} && ${make}`],
    deadline: 900,
    needs: ['cmake', 'g++'],
  };
  return { directory, step };
}

function buildName(sanitize: string): string {
  return `native build (${sanitize || 'no sanitizer'})`;
}
