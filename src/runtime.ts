// SPDX-License-Identifier: MIT
// Whether this Node can carry ironsocket. Imports nothing, so that it runs where the rest would fail to load.

/** Ends the process with one sentence on stderr when this is not a Node 24 or newer with OpenSSL 3.5 or newer of its own. */
export function checkRuntime(): void {
  const complaint = runtimeComplaint(process.versions);
  if (complaint === undefined) return;
  process.stderr.write(`ironsocket: ${complaint}\n`);
  process.exit(70); // EX_SOFTWARE: the installation is at fault
}

/** What is wrong and what to do about it; undefined: nothing. */
export function runtimeComplaint(versions: { readonly node: string; readonly openssl?: string }): string | undefined {
  const { node, openssl = '0.0' } = versions;
  if (!isAtLeast(node, [24, 0])) {
    return `needs Node 24 or newer and this is Node ${node}: install a newer one from https://nodejs.org and start again`;
  }
  if (!isAtLeast(openssl, [3, 5])) {
    return `needs OpenSSL 3.5 or newer and this Node ${node} carries OpenSSL ${openssl}: use the Node of https://nodejs.org, which brings its own`;
  }
  return undefined;
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [first = 0, second = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return first > major || (first === major && second >= minor);
}
