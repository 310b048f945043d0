// NestJS, over Express or Fastify.

import type { Server } from 'node:http';

import type { Duck } from './duck.js';
import { type FastifyApp, watchBindings } from './fastify.js';
import { type Closable, closeLast, replace } from './framework.js';
import { lameduck as attach } from './index.js';
import type { Options } from './options.js';

/** What this needs of a Nest application. */
export interface NestApp extends Closable {
  getHttpServer(): unknown;
  getHttpAdapter(): { getType(): string; getInstance(): unknown };
  enableShutdownHooks(...args: never[]): unknown;
}

/**
 * Makes a Nest application stop without dropping a request, and runs its shutdown hooks
 * (`onModuleDestroy` to `onApplicationShutdown`) after the last one. Call it before `listen()`, and
 * instead of `enableShutdownHooks()`, which would run them at the signal.
 */
export function lameduck(app: NestApp, options: Options = {}): Duck {
  const duck = attach(app.getHttpServer() as Server, options);
  const adapter = app.getHttpAdapter();
  if (adapter.getType() === 'fastify') watchBindings(duck, adapter.getInstance() as FastifyApp);
  (app as { unsubscribeFromProcessSignals?: () => void }).unsubscribeFromProcessSignals?.();
  replace(app, 'enableShutdownHooks', () => app);
  closeLast(duck, 'nest', app, () => duck.stoppedBy);
  return duck;
}
