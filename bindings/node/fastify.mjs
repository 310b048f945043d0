import lameduck from './fastify.cjs';

export { lameduck };
export default lameduck;
