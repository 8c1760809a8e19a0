// SPDX-License-Identifier: MIT

/** Version of the messages between keeper, master and worker. One that differs is refused with a sentence. */
export const controlVersion = 1;
