// SPDX-License-Identifier: MIT
// How much time tests have: IRONSOCKET_TEST_TIME_FACTOR makes it more on a slow machine, such as the kernel lab with its one CPU.

/** Deadlines and upper bounds of tests are multiplied by it. */
export const timeFactor = Number(process.env.IRONSOCKET_TEST_TIME_FACTOR ?? 1);
if (!(timeFactor >= 1)) throw new Error(`IRONSOCKET_TEST_TIME_FACTOR=${process.env.IRONSOCKET_TEST_TIME_FACTOR}`);
