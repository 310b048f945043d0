// Next.js in custom-server mode: its own `next start` stops in its own way, and takes no hooks.
import { createServer } from 'node:http';
import { lameduck } from 'lameduck';
import next from 'next';

const app = next({ dev: process.env.NODE_ENV !== 'production' });
const handle = app.getRequestHandler();
await app.prepare();

const server = createServer((request, response) => handle(request, response));
const duck = lameduck(server, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});
duck.onClose('next', () => app.close());
server.listen(Number(process.env.PORT ?? 3000));
