// SPDX-License-Identifier: MIT
// Waiting that ends.

/** What `work` settles with, or what `late` gives or throws when that takes more than `ms`. `work` itself goes on. */
export async function within<T>(work: Promise<T>, ms: number, late: () => T): Promise<T> {
  const limit = Promise.withResolvers<T>();
  const timer = setTimeout(
    () => {
      try {
        limit.resolve(late());
      } catch (error) {
        limit.reject(error as Error);
      }
    },
    Math.max(0, ms),
  );
  try {
    return await Promise.race([work, limit.promise]);
  } finally {
    clearTimeout(timer);
  }
}
