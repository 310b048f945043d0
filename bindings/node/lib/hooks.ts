import { AsyncLocalStorage } from 'node:async_hooks';

import { publish } from './channels.js';
import { type Duration, milliseconds, shown } from './duration.js';
import type { Duck } from './duck.js';
import type { Log } from './log.js';
import { checkNamed } from './named.js';
import type { Driver } from './native.js';
import type { Stage } from './report.js';
import { checkResource, type Resource, STAGES } from './resources/resource.js';

export type Hook = () => unknown;

export interface HookOptions {
  /** Lower first, equal together. Default 0. */
  order?: number;
  /** How long it may take; without one, until its stage ends. */
  timeout?: Duration;
}

export interface UseOptions extends HookOptions {
  /** What the report calls it. Default: the resource's own name, with a number when another has it. */
  name?: string;
}

/** What hooks need of their owner. */
export interface Owner {
  readonly duck: Duck;
  readonly driver: Driver;
  readonly log: Log;
  readonly phase: string;
  newId(): number;
  /** Does what the machine decided meanwhile. */
  pump(): void;
}

/** The hook that is running, so that it cannot wait for the end of itself. */
const running = new AsyncLocalStorage<string>();

/** The name of the hook that this is called from. */
export function hookRunning(): string | undefined {
  return running.getStore();
}

/** The clean-ups that the program registered. */
export class Hooks {
  readonly #owner: Owner;
  readonly #hooks = new Map<number, { name: string; stage: Stage; fn: Hook }>();
  /** Of resources. */
  readonly #names = new Set<string>();

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  register(stage: Stage, name: string, fn: Hook, options: HookOptions = {}): void {
    checkNamed(`${stage} hook`, name, fn);
    const { order = 0, timeout, ...others } = options;
    const unknown = Object.keys(others)[0];
    if (unknown !== undefined) {
      throw new TypeError(`lameduck: unknown hook option '${unknown}'; there are order and timeout`);
    }
    if (!Number.isInteger(order) || Math.abs(order) >= 2 ** 31) {
      throw new TypeError(`lameduck: order of ${stage} hook '${name}' is a whole number, not ${shown(order)}`);
    }
    const limit = timeout === undefined ? undefined : milliseconds('timeout', timeout, 0);
    const { driver, phase } = this.#owner;
    const id = this.#owner.newId();
    const refused = driver.hookRegistered(id, stage, name, order, limit);
    if (refused !== null) {
      throw new Error(`lameduck: ${stage} hook '${name}' comes too late: the process is ${phase}; register it at start`);
    }
    this.#hooks.set(id, { name, stage, fn });
  }

  /** Registers what a resource does at each stage. */
  use(resource: Resource, options: UseOptions): void {
    checkResource(resource);
    const { name: asked = resource.name, ...others } = options;
    checkNamed('resource', asked, resource.close ?? resource.drain ?? resource.flush);
    let name = asked;
    for (let n = 2; this.#names.has(name); n++) name = `${asked} ${n}`;
    // The strictest first: one that comes too late changes nothing.
    for (const stage of STAGES) {
      if (resource[stage]) this.register(stage, name, () => resource[stage]!(), others);
    }
    this.#names.add(name);
  }

  async run(id: number): Promise<void> {
    const { duck, driver, log } = this.#owner;
    const { name, stage, fn } = this.#hooks.get(id)!;
    publish('hook', () => ({ duck, id, name, stage, result: 'running' }));
    let failure: { error: unknown } | undefined;
    try {
      await running.run(name, async () => fn());
    } catch (error) {
      failure = { error };
    }
    const { error } = failure ?? {};
    const message = failure ? (error instanceof Error ? error.message : String(error)) : null;
    if (driver.hookFinished(id, message) !== null) return;
    publish('hook', () => ({ duck, id, name, stage, result: failure ? 'failed' : 'ok', ...failure }));
    // The report has the message; whoever mends the hook wants to know where.
    if (error instanceof Error && error.stack) log.warn(`${stage} hook '${name}' threw: ${error.stack}`);
    this.#owner.pump();
  }

  /** Its time is over; what comes of it is ignored. */
  abandon(id: number): void {
    const { name, stage } = this.#hooks.get(id)!;
    publish('hook', () => ({ duck: this.#owner.duck, id, name, stage, result: 'timed_out' }));
  }
}
