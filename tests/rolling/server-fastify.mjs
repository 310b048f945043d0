// The Fastify server that is restarted, with lameduck. PORT says where.
import { setTimeout as sleep } from 'node:timers/promises';
import fastify from 'fastify';
import lameduck from '../../bindings/node/fastify.mjs';
import { echoMessages, sendEvents } from './events.mjs';

const app = fastify({ keepAliveTimeout: 75_000 });
app.register(lameduck, { grace: '15s', window: '2s', health: { readyPath: '/readyz' } });
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
app.get('/item/:id', async (request) => {
  await sleep(Math.random() * 10);
  return `item ${request.params.id}`;
});
app.get('/slow/:id', async (request) => {
  await sleep(300);
  return `slow ${request.params.id}`;
});
app.post('/echo', async (request, reply) => {
  await sleep(Math.random() * 10);
  return reply.type('application/octet-stream').send(request.body);
});
app.get('/events', (_request, reply) => {
  reply.hijack();
  sendEvents(reply.raw);
});
echoMessages(app.server);
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
