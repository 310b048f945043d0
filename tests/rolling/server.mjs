// The Express server that is restarted. PORT says where; the argument says who stops it:
//   lameduck | plain | close | stoppable | http-terminator, the last three also with `+2s`: readiness fails, wait, then stop.
import express from 'express';
import { echoMessages, sendEvents } from './events.mjs';

const [strategy, wait] = (process.argv[2] ?? 'lameduck').split('+');
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let ready = true;

const app = express();
if (strategy !== 'lameduck') app.get('/readyz', (_req, res) => res.sendStatus(ready ? 200 : 503));
app.get('/item/:id', async (req, res) => {
  await sleep(Math.random() * 10);
  res.send(`item ${req.params.id}`);
});
app.get('/slow/:id', async (req, res) => {
  await sleep(300);
  res.send(`slow ${req.params.id}`);
});
app.post('/echo', express.raw({ type: '*/*', limit: '1mb' }), async (req, res) => {
  await sleep(Math.random() * 10);
  res.type('application/octet-stream').send(req.body);
});

app.get('/events', (_req, res) => sendEvents(res));

const server = app.listen(Number(process.env.PORT), '127.0.0.1');
// Longer than a balancer keeps its idle connections: the ordinary advice for a server behind one.
server.keepAliveTimeout = 75_000;
echoMessages(server);

/** Makes the function that stops the server, by strategy. */
const strategies = {
  lameduck: async () => {
    const { lameduck } = await import('../../bindings/node/index.mjs');
    lameduck(server, { grace: '15s', window: '2s', health: { readyPath: '/readyz' } });
  },
  plain: async () => {},
  close: async () => () => new Promise((resolve) => server.close(resolve)),
  stoppable: async () => {
    const { default: stoppable } = await import('stoppable');
    stoppable(server, 10_000);
    return () => new Promise((resolve) => server.stop(resolve));
  },
  'http-terminator': async () => {
    const { createHttpTerminator } = await import('http-terminator');
    const terminator = createHttpTerminator({ server, gracefulTerminationTimeout: 10_000 });
    return () => terminator.terminate();
  },
};

const stop = await strategies[strategy]();
if (stop) {
  process.once('SIGTERM', async () => {
    ready = false;
    if (wait) await sleep(Number.parseFloat(wait) * 1000);
    await stop();
    process.exit(0);
  });
}
