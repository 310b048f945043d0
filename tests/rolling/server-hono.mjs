// The Hono server that is restarted, with lameduck. PORT says where.
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { lameduck } from '../../bindings/node/index.mjs';
import { echoMessages } from './events.mjs';

const app = new Hono();
const text = (c, body) => c.body(body, 200, { 'content-type': 'text/plain', 'content-length': String(body.length) });
app.get('/item/:id', async (c) => {
  await sleep(Math.random() * 10);
  return text(c, `item ${c.req.param('id')}`);
});
app.get('/slow/:id', async (c) => {
  await sleep(300);
  return text(c, `slow ${c.req.param('id')}`);
});
app.post('/echo', async (c) => {
  const body = await c.req.arrayBuffer();
  await sleep(Math.random() * 10);
  return c.body(body, 200, { 'content-type': 'application/octet-stream', 'content-length': String(body.byteLength) });
});
app.get('/events', (c) => {
  c.header('x-accel-buffering', 'no');
  return streamSSE(c, async (stream) => {
    for (let n = 0; !stream.aborted; n++) {
      await stream.writeSSE({ data: String(n) });
      await sleep(200);
    }
  });
});

const server = serve({ fetch: app.fetch, port: Number(process.env.PORT), hostname: '127.0.0.1' });
server.keepAliveTimeout = 75_000;
echoMessages(server);
lameduck(server, { grace: '15s', window: '2s', health: { readyPath: '/readyz' } });
