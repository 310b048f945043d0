// The application, the same for both servers.
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';

export const app = new Hono();

// What requests need to the end: stands for a pool of connections to a database.
export const journal = await open(process.env.JOURNAL ?? 'journal.log', 'a');

app.get('/', (c) => c.text('hello\n'));

// What was posted comes back, byte for byte, once it is written down.
app.post('/echo', async (c) => {
  const body = await c.req.arrayBuffer();
  await journal.appendFile(`${body.byteLength}\n`);
  return c.body(body, 200, { 'content-type': 'application/octet-stream' });
});

app.get('/slow', async (c) => {
  await sleep(500);
  await journal.appendFile('slow\n');
  return c.text('that took a while\n');
});

// Goes on until somebody ends it.
app.get('/events', (c) =>
  streamSSE(c, async (stream) => {
    for (let n = 0; !stream.aborted; n++) {
      await stream.writeSSE({ data: String(n) });
      await sleep(1000);
    }
  }),
);
