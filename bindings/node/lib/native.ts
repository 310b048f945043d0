import type * as Native from '../native/index.js';
import { HERE, absent, packages } from './packages.js';

export type { Driver, JsEffect as Effect, JsSettings as Settings } from '../native/index.js';

function load(): typeof Native {
  const own = `../native/lameduck.${HERE}.node`;
  const failures: [name: string, cause: NodeJS.ErrnoException][] = [];
  for (const [name, open] of [[own, () => require(own)] as const, ...packages]) {
    try {
      return open() as typeof Native;
    } catch (cause) {
      failures.push([name, cause as NodeJS.ErrnoException]);
    }
  }
  const broken = failures.find(([, { code }]) => code !== 'MODULE_NOT_FOUND');
  if (broken) {
    const [name, cause] = broken;
    throw new Error(`lameduck's addon ${name} does not load here: ${cause.message.split('\n', 1)[0]}`, { cause });
  }
  throw new Error(absent('addon'));
}

/** The private addon. */
export const native = load();
