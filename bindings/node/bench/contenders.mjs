// What is compared. Each attaches itself to a server as its own documentation says, with its defaults.

/** Attach functions by name; `bare` is the server that all others are measured against. */
export const contenders = {
  bare: async () => {},
  /** What the noise of this machine makes of no difference at all. */
  'bare, against itself': async () => {},
  lameduck: async (server) => {
    const { lameduck } = await import('../index.mjs');
    lameduck(server, { logger: silent });
  },
  stoppable: async (server) => {
    const { default: stoppable } = await import('stoppable');
    stoppable(server);
  },
  'http-terminator': async (server) => {
    const { createHttpTerminator } = await import('http-terminator');
    createHttpTerminator({ server });
  },
  '@godaddy/terminus': async (server) => {
    const { createTerminus } = await import('@godaddy/terminus');
    createTerminus(server);
  },
  'http-graceful-shutdown': async (server) => {
    const { default: gracefulShutdown } = await import('http-graceful-shutdown');
    gracefulShutdown(server);
  },
};

const silent = { debug() {}, info() {}, warn() {}, error() {} };
