// What is compared. Each serves `handler` and stops at SIGTERM as its own documentation says, told that it has `deadline` milliseconds
// where it can be told.
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';

/** A server of Node's own for http, https, h2c or h2 (with HTTP/1.1 beside it). */
function nodeServer({ protocol, handler, tls }) {
  if (protocol === 'h2') return http2.createSecureServer({ ...tls, allowHTTP1: true }, handler);
  if (protocol === 'h2c') return http2.createServer(handler);
  return protocol === 'https' ? https.createServer(tls, handler) : http.createServer(handler);
}

/** Attaches to a server of Node's own. */
const attached = (attach) => async (asked) => {
  const server = nodeServer(asked);
  await attach(server, asked.deadline);
  return server;
};

const exit = () => process.exit(0);
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** Servers by the name of what stops them. `package` is whose version is told; Node's, where there is none. */
export const contenders = {
  'no handler': { serve: attached(() => {}) },

  'server.close()': { serve: attached((server) => process.once('SIGTERM', () => server.close(exit))) },

  stoppable: {
    package: 'stoppable',
    serve: attached(async (server, deadline) => {
      const { default: stoppable } = await import('stoppable');
      stoppable(server, deadline);
      process.once('SIGTERM', () => server.stop(exit));
    }),
  },

  terminus: {
    package: '@godaddy/terminus',
    serve: attached(async (server, deadline) => {
      const { createTerminus } = await import('@godaddy/terminus');
      createTerminus(server, { signal: 'SIGTERM', timeout: deadline, logger() {} });
    }),
  },

  'http-terminator': {
    package: 'http-terminator',
    serve: attached(async (server, deadline) => {
      const { createHttpTerminator } = await import('http-terminator');
      const terminator = createHttpTerminator({ server, gracefulTerminationTimeout: deadline });
      process.once('SIGTERM', () => terminator.terminate().then(exit));
    }),
  },

  'http-graceful-shutdown': {
    package: 'http-graceful-shutdown',
    serve: attached(async (server, deadline) => {
      const { default: gracefulShutdown } = await import('http-graceful-shutdown');
      gracefulShutdown(server, { timeout: deadline });
    }),
  },

  'http-shutdown': {
    package: 'http-shutdown',
    serve: attached(async (server) => {
      const { default: withShutdown } = await import('http-shutdown');
      withShutdown(server);
      process.once('SIGTERM', () => server.shutdown(exit));
    }),
  },

  lightship: {
    package: 'lightship',
    serve: attached(async (server, deadline) => {
      const { createLightship } = await import('lightship');
      // Its delay is meant for the balancer, and comes out of the same budget.
      const lightship = await createLightship({
        port: 0, detectKubernetes: false, gracefulShutdownTimeout: deadline, shutdownHandlerTimeout: deadline, shutdownDelay: deadline / 4,
      });
      lightship.registerShutdownHandler(() => new Promise((resolve) => server.close(resolve)));
      server.once('listening', () => lightship.signalReady());
    }),
  },

  'fastify + close-with-grace': {
    package: 'fastify',
    async serve({ protocol, handler, tls, deadline }) {
      const { default: fastify } = await import('fastify');
      const { default: closeWithGrace } = await import('close-with-grace');
      const app = fastify({
        ...(protocol === 'http' || protocol === 'h2c' ? {} : { https: { ...tls, allowHTTP1: true } }),
        ...(protocol.startsWith('h2') ? { http2: true } : {}),
      });
      app.addContentTypeParser('*', (_request, _payload, done) => done(null));
      app.all('/*', (request, reply) => {
        reply.hijack();
        handler(request.raw, reply.raw);
      });
      closeWithGrace({ delay: deadline, logger: false }, () => app.close());
      await app.ready();
      return app.server;
    },
  },

  lameduck: {
    package: 'lameduck',
    serve: attached(async (server, deadline) => {
      const { lameduck } = await import('../index.mjs');
      const margin = 300;
      lameduck(server, { grace: deadline + margin, margin, logger: quiet });
    }),
  },
};
