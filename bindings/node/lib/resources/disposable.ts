import { has, type Resource, wrong } from './resource.js';

/** Disposes of anything that `using` or `await using` would dispose of, after the last request. */
export function disposable(value: AsyncDisposable | Disposable): Resource {
  const methods = (value ?? {}) as Partial<AsyncDisposable & Disposable>;
  const dispose = methods[Symbol.asyncDispose] ?? methods[Symbol.dispose];
  if (typeof dispose !== 'function' || !has(value)) {
    throw wrong('disposable', 'what has a method Symbol.asyncDispose or Symbol.dispose', value);
  }
  const { name } = value.constructor ?? {};
  return { name: name && name !== 'Object' ? name : 'disposable', close: () => dispose.call(value) };
}
