import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest, ServerHttp2Stream } from 'node:http2';

import { shown } from './duration.js';
import type { Driver } from './native.js';
import type { Blocker } from './report.js';

/** A request as Node's server handed it out. */
export type ServerRequest = IncomingMessage | Http2ServerRequest | ServerHttp2Stream;

export interface JobOptions {
  /**
   * What draining means to it. `'wait'`: shutdown waits for it, and its signal fires shortly before the drain deadline.
   * `'cancel'`: its signal fires as soon as draining begins, and that it stops then is no loss. Default `'wait'`.
   */
  onDrain?: 'wait' | 'cancel';
  /** The request that began it, for code that runs where Node lost its context. */
  request?: ServerRequest;
}

/** What jobs need of their owner. */
export interface Owner {
  readonly driver: Driver;
  readonly drain: AbortSignal;
  readonly phase: string;
  newId(): number;
  /** Does what the machine decided meanwhile. */
  pump(): void;
  /** Whether a server of this duck handed out this request. */
  handedOut(request: object): boolean;
  /** Whether a request from before the drain is in flight. */
  anyAdopted(): boolean;
}

interface Job {
  name: string;
  since: number;
  onDrain: 'wait' | 'cancel';
  controller: AbortController;
}

/**
 * Whoever runs in this context was called for a request. It costs nothing while serving: only requests that arrive while
 * draining run in it.
 */
const ofRequest = new AsyncLocalStorage<true>();

/** Calls `fn` for a request that arrived while draining. */
export function forRequest<T>(fn: () => T): T {
  return ofRequest.run(true, fn);
}

/** Work beside the requests, which shutdown waits for or cancels. */
export class Jobs {
  readonly #owner: Owner;
  readonly #running = new Map<number, Job>();

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  get size(): number {
    return this.#running.size;
  }

  async run<T>(name: string, fn: (signal: AbortSignal) => T | Promise<T>, options: JobOptions): Promise<T> {
    const { driver, newId, phase, pump } = this.#owner;
    const { onDrain, request } = this.#check(name, options);
    const id = newId();
    if (driver.jobStarted(id, name, this.#isOfRequest(request) ? 'request' : 'background', onDrain) !== null) {
      const why = phase === 'draining' ? 'draining and takes only jobs that a request begins: pass { request } if one did' : phase;
      throw new Error(`lameduck: job '${name}' was refused: the process is ${why}`);
    }
    const controller = new AbortController();
    this.#running.set(id, { name, since: performance.now(), onDrain, controller });
    pump();
    let outcome = 'completed';
    try {
      return await fn(controller.signal);
    } catch (error) {
      outcome = controller.signal.aborted ? 'aborted' : 'failed';
      throw error;
    } finally {
      this.#running.delete(id);
      driver.jobFinished(id, outcome);
      pump();
    }
  }

  /** Fires its abort signal. */
  cancel(id: number, deadlineNear: Error): void {
    const job = this.#running.get(id);
    const { drain } = this.#owner;
    job?.controller.abort(job.onDrain === 'cancel' && drain.aborted ? drain.reason : deadlineNear);
  }

  *blockers(age: (since: number) => number): Iterable<Blocker> {
    for (const [id, { name, since }] of this.#running) yield { what: 'job', id, name, age_ms: age(since) };
  }

  /**
   * Whether a request began what runs now. Of code from before the drain nobody noted that, so as long as a request
   * from then is in flight it may be that one.
   */
  #isOfRequest(request: ServerRequest | undefined): boolean {
    if (this.#owner.phase !== 'draining') return false;
    return request !== undefined || ofRequest.getStore() === true || this.#owner.anyAdopted();
  }

  #check(name: string, options: JobOptions): { onDrain: 'wait' | 'cancel'; request: ServerRequest | undefined } {
    if (typeof options !== 'object' || options === null) {
      throw new TypeError(`lameduck: the options of job '${name}' are an object, not ${shown(options)}`);
    }
    const { onDrain = 'wait', request, ...others } = options;
    const unknown = Object.keys(others)[0];
    if (unknown !== undefined) {
      throw new TypeError(`lameduck: unknown job option '${unknown}'; there are onDrain and request`);
    }
    if (onDrain !== 'wait' && onDrain !== 'cancel') {
      throw new TypeError(`lameduck: onDrain of job '${name}' is 'wait' or 'cancel', not ${shown(onDrain)}`);
    }
    if (request !== undefined && !this.#owner.handedOut(request)) {
      throw new TypeError(
        `lameduck: request of job '${name}' is no request of this server: ${shown(request)}; ` +
          "pass Node's own (Express: req, Koa: ctx.req, Fastify: request.raw)",
      );
    }
    return { onDrain, request };
  }
}
