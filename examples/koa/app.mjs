// The application, the same for both servers.
import { open } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import Koa from 'koa';

export const app = new Koa();

// What requests need to the end: stands for a pool of connections to a database.
export const journal = await open(process.env.JOURNAL ?? 'journal.log', 'a');

const routes = {
  'GET /': (ctx) => {
    ctx.body = 'hello\n';
  },
  // What was posted comes back, byte for byte, once it is written down.
  'POST /echo': async (ctx) => {
    const body = await buffer(ctx.req);
    await journal.appendFile(`${body.length}\n`);
    ctx.body = body;
  },
  'GET /slow': async (ctx) => {
    await sleep(500);
    await journal.appendFile('slow\n');
    ctx.body = 'that took a while\n';
  },
};

app.use((ctx, next) => (routes[`${ctx.method} ${ctx.path}`] ?? next)(ctx));
