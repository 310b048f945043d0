import { lameduck } from 'lameduck';
import { app, journal } from './app.mjs';

const server = app.listen(Number(process.env.PORT ?? 3000));

const duck = lameduck(server, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});
duck.onClose('journal', () => journal.close());
