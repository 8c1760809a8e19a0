// SPDX-License-Identifier: MIT
// A machine without any gap, for tests that take something away from it.
import type { Facts } from '../../src/doctor/facts.ts';
import { newKernel } from './kernel-reports.ts';

export const fullFacts: Facts = {
  ironsocket: '1.2.3',
  kernel: { release: '7.2.7', version: '#1 SMP', signature: undefined },
  upstream: { series: '7.2', patch: 7 },
  modules: { tls: 'file', gcm: 'file', ccm: 'file', chacha20poly1305: 'file' },
  absentModules: undefined,
  listed: { before: true, after: true },
  probe: newKernel,
  devices: [
    { device: 'lo', error: '', tx: 'unavailable', rx: 'unavailable' },
    { device: 'eth0', error: '', tx: 'unavailable', rx: 'unavailable' },
  ],
  files: { soft: 1024, hard: 524_288, nrOpen: 1_048_576, fileMax: 9_000_000 },
  pipes: { maxSize: 1_048_576, userPagesSoft: 16_384 },
  relayThreads: 4,
  openssl: {
    node: '26.10.0',
    builtIn: '3.5.8',
    linked: '3.5.8',
    groups: { X25519MLKEM768: true, X25519: true, 'P-256': true, 'P-384': true },
  },
  surroundings: { uid: 65534, mayLoadTls: false, container: false, seccomp: false, loopback: 'ok' },
};
