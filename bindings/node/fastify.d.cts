import type { FastifyPluginCallback } from 'fastify';
import type { Duck, Options } from './index.cjs';

declare module 'fastify' {
  interface FastifyInstance {
    lameduck: Duck;
  }
}

declare const lameduck: FastifyPluginCallback<Options> & {
  lameduck: FastifyPluginCallback<Options>;
  default: FastifyPluginCallback<Options>;
};

export = lameduck;
