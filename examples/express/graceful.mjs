// The same server with lameduck instead of a signal handler and a readiness route of its own.
import { lameduck } from 'lameduck';
import { app } from './app.mjs';

const server = app.listen(process.env.PORT ?? 3000);

lameduck(server, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});
