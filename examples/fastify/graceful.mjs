// The same server with lameduck, which calls app.close() after the last request.
import lameduck from 'lameduck/fastify';
import { app } from './app.mjs';

await app.register(lameduck, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});
await app.listen({ port: Number(process.env.PORT ?? 3000) });
