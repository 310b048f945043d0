// What the integrations of frameworks share.

import type { Duck } from './duck.js';

/** An application whose `close()` releases what its requests need. */
export interface Closable {
  close(...args: never[]): unknown;
}

/**
 * Closes the application in Closing, after the last request, whoever else calls its `close()` and
 * when: a signal handler of the program, or a library that stops servers. `argument` is what our
 * own call says to it.
 */
export function closeLast(duck: Duck, name: string, app: Closable, argument: () => unknown): void {
  replace(app, original, methodOf(app, 'close'));
  let closed: Promise<unknown> | undefined;
  const once = (...args: unknown[]) => (closed ??= Promise.resolve((app as Replaced)[original]!(...args)));
  const done = new Promise<unknown>((resolve) => duck.once('report', resolve));
  duck.onClose(name, () => once(...[argument()].filter((value) => value !== undefined)));
  replace(app, 'close', (...args: unknown[]) => {
    const callback = args.find((one) => typeof one === 'function') as ((error?: unknown) => void) | undefined;
    // Nobody asked to stop: a test that is over, say. Else whoever waits for this may end the process next.
    const result = duck.phase === 'draining' ? done : once(...args.filter((one) => one !== callback));
    if (callback) result.then(() => callback(), callback);
    return result;
  });
}

const original = Symbol('lameduck.close');
type Method = (...args: unknown[]) => unknown;
type Replaced = Closable & { [original]?: Method };

/** Nest hands out a proxy that ignores assignments, and calls whatever has the name by now. */
export function replace(app: object, name: string | symbol, method: Method): void {
  Object.defineProperty(app, name, { value: method, configurable: true, writable: true });
}

function methodOf(app: object, name: string): Method {
  for (let one = app; one; one = Object.getPrototypeOf(one) as object) {
    const method = Object.getOwnPropertyDescriptor(one, name)?.value as unknown;
    if (typeof method === 'function') return method as Method;
  }
  throw new TypeError(`lameduck: this application has no ${name}()`);
}
