import { setTimeout as sleep } from 'node:timers/promises';

import { shown } from '../duration.js';
import { has, type Resource, wrong } from './resource.js';

/** A task of node-cron, version 4 or later. */
export interface NodeCronTask {
  readonly name?: string;
  readonly id: string;
  on(event: string, listener: () => void): unknown;
  stop(): unknown;
  execute(): unknown;
}

/** A `Cron` of croner. */
export interface Croner {
  readonly name?: string | undefined;
  stop(): void;
  isBusy(): boolean;
  nextRun(): unknown;
}

/** How often croner, which has no events, is asked whether its job is done. */
const ASK_MS = 20;

/** Stops a task of node-cron when draining begins; the drain lasts until what it runs is done. */
export function nodeCron(task: NodeCronTask): Resource {
  if (!has(task, 'on', 'stop', 'execute')) throw wrong('nodeCron', 'what schedule() of node-cron 4 returned', task);
  let runs = 0;
  let idle = () => {};
  const ended = () => {
    runs -= 1;
    if (runs === 0) idle();
  };
  task.on('execution:started', () => (runs += 1));
  task.on('execution:finished', ended);
  task.on('execution:failed', ended);
  const drain = async () => {
    await task.stop();
    if (runs > 0) await new Promise<void>((resolve) => (idle = resolve));
  };
  return { name: named('node-cron', task), drain };
}

/** Stops a job of croner when draining begins; the drain lasts until what it runs is done. */
export function croner(job: Croner): Resource {
  if (!has(job, 'stop', 'isBusy', 'nextRun')) throw wrong('croner', 'a Cron of croner', job);
  const drain = async () => {
    job.stop();
    while (job.isBusy()) await sleep(ASK_MS);
  };
  return { name: named('croner', job), drain };
}

/** Stops what `setInterval` or `setTimeout` returned when draining begins. What it does is waited for if it is a job of the duck. */
export function timer(handle: NodeJS.Timeout): Resource {
  if (!has(handle, 'ref', 'refresh')) {
    throw new TypeError(`lameduck: timer() takes what setInterval() or setTimeout() returned, not ${shown(handle)}`);
  }
  return { name: 'timer', drain: () => clearTimeout(handle) };
}

function named(kind: string, { name, id }: { name?: string | undefined; id?: string }): string {
  return name && name !== id ? `${kind} ${name}` : kind;
}
