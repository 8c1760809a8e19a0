// SPDX-License-Identifier: MIT
// The targets that are written in TypeScript, by name. Those in C++ are the other files here.
import * as adminRequest from './admin-request.ts';
import * as config from './config.ts';
import * as controlMessage from './control-message.ts';
import type { Guidance, Target } from './guided.ts';

export const targets: Readonly<Record<string, { readonly target: Target; readonly guidance: Guidance }>> = {
  'admin-request': adminRequest,
  config,
  'control-message': controlMessage,
};
