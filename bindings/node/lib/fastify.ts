// The Fastify plugin.

import type { Server } from 'node:http';

import type { Duck } from './duck.js';
import { type Closable, closeLast } from './framework.js';
import { lameduck as attach } from './index.js';
import type { Logger } from './log.js';
import type { Options } from './options.js';

/** What the plugin needs of a Fastify instance. */
export interface FastifyApp extends Closable {
  server: unknown;
  log: unknown;
  addHook(name: 'onListen', fn: (done: () => void) => void): unknown;
  decorate(name: string, value: unknown): unknown;
}

/** `app.register(lameduck, options)` makes this server stop without dropping a request; then `app.lameduck` is the handle. */
export function lameduck(app: FastifyApp, options: Options, done: (error?: Error) => void): void {
  try {
    const duck = attach(app.server as Server, { ...loggerOf(app), ...options });
    app.decorate('lameduck', duck);
    watchBindings(duck, app);
    closeLast(duck, 'fastify', app, () => undefined);
    done();
  } catch (error) {
    done(error as Error);
  }
}

// As fastify-plugin says it: this belongs to the instance that registers it, not to a scope of its own.
Object.assign(lameduck, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'lameduck',
  [Symbol.for('plugin-meta')]: { fastify: '5.x', name: 'lameduck' },
});

/** On `localhost` Fastify opens a server for each address family, and shows only the first. */
export function watchBindings(duck: Duck, app: FastifyApp): void {
  app.addHook('onListen', (done) => {
    for (const server of bindingsOf(app)) duck.add(server);
    done();
  });
}

function bindingsOf(app: object): Server[] {
  for (let one = app; one; one = Object.getPrototypeOf(one) as object) {
    const symbol = Object.getOwnPropertySymbols(one).find(({ description }) => description === 'fastify.serverBindings');
    if (symbol) return (one as Record<symbol, Server[]>)[symbol]!;
  }
  return [];
}

/** Fastify's own log, if it has one. */
function loggerOf({ log }: FastifyApp): { logger?: Logger } {
  return typeof (log as { level?: unknown } | null)?.level === 'string' ? { logger: log as Logger } : {};
}
