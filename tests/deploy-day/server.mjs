// The service: orders are written to PostgreSQL and shipped by jobs, whose worker is in the same process. PORT, POSTGRES and REDIS say
// where; the argument says who stops it: lameduck |
// bare (lameduck that knows of no database) | plain.
import { Queue, Worker } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';
import pg from 'pg';

const pool = new pg.Pool({ host: '127.0.0.1', port: Number(process.env.POSTGRES), user: 'test', database: 'postgres', max: 8 });
const redis = new Redis({ port: Number(process.env.REDIS) });
const connection = { host: '127.0.0.1', port: Number(process.env.REDIS) };
const orders = new Queue('orders', { connection, defaultJobOptions: { removeOnComplete: true } });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Counts that it was begun and that it was done; one in twenty takes 700 ms. */
async function ship({ data: { key, slow } }) {
  await pool.query('INSERT INTO shipments (key, begun) VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET begun = shipments.begun + 1', [key]);
  await sleep(slow ? 700 : Math.random() * 20);
  await pool.query('UPDATE shipments SET done = done + 1 WHERE key = $1', [key]);
}
// A job whose process died is noticed sooner than by default: the test waits for it.
const worker = new Worker('orders', ship, { connection, concurrency: 4, lockDuration: 5_000, stalledInterval: 5_000 });

let orderNumber = 0;
const app = express();
if (process.argv[2] === 'plain') app.get('/readyz', (_req, res) => res.sendStatus(200));
app.get('/orders/:id', async (req, res) => {
  const takes = req.params.id.endsWith('0') ? 0.3 : 0;
  const { rows } = await pool.query('SELECT count(*)::int AS seen, pg_sleep($1) FROM orders WHERE key = $2', [takes, req.params.id]);
  await redis.incr('reads');
  res.send(`order ${req.params.id}: ${rows[0].seen}`);
});
app.post('/orders', express.text({ type: '*/*' }), async (req, res) => {
  const key = req.body;
  await pool.query('INSERT INTO orders (key) VALUES ($1)', [key]);
  await orders.add('ship', { key, slow: orderNumber++ % 20 === 0 });
  res.send(`accepted ${key}`);
});

const server = app.listen(Number(process.env.PORT), '127.0.0.1');
// Longer than a balancer keeps its idle connections: the ordinary advice for a server behind one.
server.keepAliveTimeout = 75_000;

if (process.argv[2] !== 'plain') {
  const { lameduck } = await import('../../bindings/node/index.mjs');
  const resources = (await import('../../bindings/node/resources.js')).default;
  const duck = lameduck(server, { grace: '15s', window: '2s', health: { readyPath: '/readyz' } });
  if (process.argv[2] !== 'bare') {
    duck.use(resources.pg(pool)).use(resources.ioredis(redis)).use(resources.bullmq(worker)).use(resources.bullmq(orders));
  }
}
