import { shown } from './duration.js';

/** What the program registers has a name that the report can show, and is a function. */
export function checkNamed(what: string, name: unknown, fn: unknown): void {
  if (typeof name !== 'string' || name === '') {
    throw new TypeError(`lameduck: a ${what} has a name that the report can show, not ${shown(name)}`);
  }
  if (typeof fn !== 'function') {
    throw new TypeError(`lameduck: ${what} '${name}' is a function, not ${shown(fn)}`);
  }
}
