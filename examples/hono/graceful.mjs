import { serve } from '@hono/node-server';
import { lameduck } from 'lameduck';
import { app, journal } from './app.mjs';

const server = serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000) });

const duck = lameduck(server, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});
duck.onClose('journal', () => journal.close());
