import { setTimeout as sleep } from 'node:timers/promises';

import { has, type Resource, wrong } from './resource.js';

/** A `Worker` of BullMQ. */
export interface BullWorker {
  readonly name: string;
  pause(): Promise<unknown>;
  isRunning(): boolean;
  close(): Promise<unknown>;
}

/** A `Queue`, `QueueEvents` or `FlowProducer` of BullMQ. */
export interface BullClient {
  readonly name?: string;
  waitUntilReady(): Promise<unknown>;
  disconnect(): Promise<unknown>;
  close(): Promise<unknown>;
}

/**
 * Closes what BullMQ made after the last request, which may still add jobs. A worker takes no job from the moment draining
 * begins, and the drain lasts until those that it has are done: `close()` alone has no end of its own (bullmq#4163), here the drain
 * deadline is one. What is not done by then is stalled, and another worker's.
 */
export function bullmq(client: BullWorker | BullClient): Resource {
  const close = () => client.close();
  const name = (kind: string) => ['bullmq', kind, client.name].filter(Boolean).join(' ');
  // A queue has `pause` too, which stops it everywhere.
  if (has(client, 'run', 'pause', 'isRunning', 'close')) {
    const worker = client as BullWorker & Locks;
    const jobs = () => worker.lockManager?.getActiveJobCount?.();
    return { name: name('worker'), drain: () => unlessGone(worker.pause(), jobs), close: () => unlessGone(close(), jobs) };
  }
  if (!has(client, 'waitUntilReady', 'disconnect', 'close')) {
    throw wrong('bullmq', 'a Worker, Queue, QueueEvents or FlowProducer of BullMQ', client);
  }
  if (has(client, 'run')) return { name: name('queue events'), close: () => unlessGone(close(), () => 0) };
  return { name: name(has(client, 'getJob') ? 'queue' : 'flow producer'), close };
}

/** What a worker knows of the jobs that it has. */
interface Locks {
  lockManager?: { getActiveJobCount?(): number };
}

/** How long a Redis that is owed nothing may take (milliseconds). */
const PATIENCE = 1_000;

/** Waits for `ended`, which is never when Redis is gone: when there is no job in hand, that is no reason to wait. */
async function unlessGone(ended: Promise<unknown>, jobs: () => number | undefined): Promise<void> {
  const done = ended.then(() => true);
  // Should it fail when nobody waits for it any more, that is no unhandled rejection.
  done.catch(() => {});
  while (!(await Promise.race([done, sleep(PATIENCE, false, { ref: false })]))) {
    if (jobs() === 0) return;
  }
}
