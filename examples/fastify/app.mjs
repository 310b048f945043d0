// The application, the same for both servers.
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify from 'fastify';

export const app = fastify();

// What requests need to the end: stands for a pool of connections to a database.
const journal = await open(process.env.JOURNAL ?? 'journal.log', 'a');
app.addHook('onClose', () => journal.close());

app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

app.get('/', () => 'hello\n');

// What was posted comes back, byte for byte, once it is written down.
app.post('/echo', async (request, reply) => {
  await journal.appendFile(`${request.body.length}\n`);
  return reply.type('application/octet-stream').send(request.body);
});

app.get('/slow', async () => {
  await sleep(500);
  await journal.appendFile('slow\n');
  return 'that took a while\n';
});
