// The same server with lameduck instead of enableShutdownHooks(): Nest's hooks run after the last request.
import { lameduck } from 'lameduck/nestjs';
import { create } from './app.js';

const app = await create();
lameduck(app, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});
await app.listen(Number(process.env.PORT ?? 3000));
