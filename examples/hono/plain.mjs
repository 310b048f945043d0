// Stopped as the documentation of Hono teaches: https://hono.dev/docs/getting-started/nodejs
import { serve } from '@hono/node-server';
import { app, journal } from './app.mjs';

app.get('/readyz', (c) => c.text('ready\n'));

const server = serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000) });

process.on('SIGTERM', () => {
  server.close(async () => {
    await journal.close();
    process.exit(0);
  });
});
