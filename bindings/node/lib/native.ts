import type * as Native from '../native/index.js';

export type { Driver, JsEffect as Effect, JsSettings as Settings } from '../native/index.js';

function load(): typeof Native {
  try {
    return require(`../native/lameduck.${process.platform}-${process.arch}.node`) as typeof Native;
  } catch (cause) {
    throw new Error(
      `lameduck has no addon for ${process.platform}-${process.arch} in this installation; ` +
        "reinstall on this machine, or build it from the repository with 'make build' (needs Rust)",
      { cause },
    );
  }
}

/** The private addon. */
export const native = load();
