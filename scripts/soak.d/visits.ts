// SPDX-License-Identifier: MIT
// What visitors do, each from connect to the end, with everything that comes back looked at. One that returns has seen what it should.
import {
  brokenRecord,
  endSomewhere,
  garbage,
  nobodyThere,
  resetSomewhere,
  silence,
  theirReset,
} from './broken-visits.ts';
import { afterTheirEnd, download, slowDownload, upload } from './bulk-visits.ts';
import type { Visit } from './scene.ts';
import { nameInTheHeader, rekey, request, resumed } from './talking-visits.ts';

/** With how often each comes. */
export const visits: Readonly<Record<string, { readonly visit: Visit; readonly weight: number }>> = {
  'full handshake and requests': { visit: request, weight: 8 },
  'resumed handshake and requests': { visit: resumed, weight: 8 },
  'bulk down': { visit: download, weight: 2 },
  'bulk up, client ends first': { visit: upload, weight: 2 },
  'service ends first': { visit: afterTheirEnd, weight: 2 },
  'slow reader': { visit: slowDownload, weight: 1 },
  'new keys': { visit: rekey, weight: 2 },
  'PROXY header': { visit: nameInTheHeader, weight: 2 },
  'no backend': { visit: nobodyThere, weight: 1 },
  'reset by the service': { visit: theirReset, weight: 2 },
  'RST somewhere': { visit: resetSomewhere, weight: 4 },
  'FIN somewhere': { visit: endSomewhere, weight: 4 },
  garbage: { visit: garbage, weight: 2 },
  'broken record': { visit: brokenRecord, weight: 2 },
  silence: { visit: silence, weight: 1 },
};
