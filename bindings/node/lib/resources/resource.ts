import { shown } from '../duration.js';

/** Something that is to be paused, closed or flushed when the server stops. Take it to `duck.use()`. */
export interface Resource {
  /** What the report calls it. */
  readonly name: string;
  /** When draining begins; the drain lasts until it has ended. */
  drain?(): unknown;
  /** After the last request. */
  close?(): unknown;
  /** Last of all. */
  flush?(): unknown;
}

export const STAGES = ['drain', 'close', 'flush'] as const;

/** @throws TypeError for what is no resource. */
export function checkResource(value: unknown): asserts value is Resource {
  const resource = value as Partial<Resource> | null | undefined;
  const hooks = STAGES.filter((stage) => resource?.[stage] !== undefined);
  if (typeof resource?.name === 'string' && resource.name !== '' && hooks.length > 0) {
    if (hooks.every((stage) => typeof resource[stage] === 'function')) return;
  }
  throw new TypeError(
    `lameduck: use() takes a resource, such as pg(pool) of lameduck/resources or { name: 'cache', close: () => … }, not ${shown(value)}`,
  );
}

/** Whether `value` has these methods. */
export function has(value: unknown, ...methods: string[]): boolean {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false;
  return methods.every((method) => typeof (value as Record<string, unknown>)[method] === 'function');
}

/** What a helper says to an object that is not its client's. */
export function wrong(helper: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`lameduck: ${helper}() takes ${wanted}, not ${shown(value)}`);
}
