import type { FastifyPluginCallback } from 'fastify';
import type { Duck, Options } from './index.mjs';

declare module 'fastify' {
  interface FastifyInstance {
    lameduck: Duck;
  }
}

declare const lameduck: FastifyPluginCallback<Options>;

export { lameduck };
export default lameduck;
