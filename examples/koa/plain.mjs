// Stopped with what Node has: the listener closes, and the process ends when the last client has gone.
import { app, journal } from './app.mjs';

app.use((ctx) => {
  if (ctx.path === '/readyz') ctx.body = 'ready\n';
});

const server = app.listen(Number(process.env.PORT ?? 3000));

process.on('SIGTERM', () => {
  server.close(async () => {
    await journal.close();
    process.exit(0);
  });
});
