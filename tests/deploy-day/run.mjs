// A service with databases and a queue, two copies behind a real balancer, restarted by turns under load. Fails when one request fails, a
// job is not done or done twice, a server does not leave as it should, or a database keeps a connection.
//   node run.mjs [--service node|python] [--balancer nginx|haproxy-http] [--server lameduck|bare|plain] [--restarts 4] [--clients 16]
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import * as postgres from '../databases/postgres.mjs';
import * as redis from '../databases/redis.mjs';
import { balancers, startBalancer } from '../rolling/balancers.mjs';
import { startLoad } from '../rolling/load.mjs';
import { freePort, run, temporaryFolder, until, watch } from '../support/children.mjs';
import { get, sleep, stop } from '../support/restarts.mjs';
import { services } from './services.mjs';

const { values } = parseArgs({
  options: {
    service: { type: 'string', default: 'node' },
    balancer: { type: 'string', default: 'haproxy-http' },
    server: { type: 'string', default: 'lameduck' },
    restarts: { type: 'string', default: '4' },
    clients: { type: 'string', default: '16' },
  },
});
/** How long jobs may take to be done once nothing new comes (milliseconds). */
const PATIENCE = 40_000;

const folder = temporaryFolder('deploy-day');
const db = await postgres.start(import.meta.url);
const cache = await redis.start();
const service = await services[values.service](values.server, { db, cache, folder });
await db.query('CREATE TABLE orders (key text PRIMARY KEY); CREATE TABLE shipments (key text PRIMARY KEY, begun int NOT NULL, done int NOT NULL DEFAULT 0)');

async function start(port) {
  const child = run(...service.command(port));
  await until(child, async () => (await get(port, '/readyz')) === 200);
  return child;
}

/** Stops one; its end also says what was wrong with it. */
async function leave(child) {
  const end = await stop(child);
  return { ...end, fault: service.fault(child.pid, end) };
}

/** By turns a new order, which must be accepted, and a look at one, one in ten of which takes 300 ms. */
function make(n) {
  if (n % 2 === 0) return { method: 'GET', path: `/orders/${n}`, body: null, expected: Buffer.from(`order ${n}: 0`) };
  const key = randomUUID();
  return { method: 'POST', path: '/orders', body: Buffer.from(key), expected: Buffer.from(`accepted ${key}`) };
}

const ports = [await freePort(), await freePort()];
const front = await freePort();
const servers = [await start(ports[0]), await start(ports[1])];
const balancer = watch(startBalancer(values.balancer, folder, front, ports));
await until(balancer, async () => (await get(front, '/orders/1')) === 200);
const { settle } = balancers[values.balancer];
await sleep(settle);

const load = startLoad(front, { clients: Number(values.clients), make });
await sleep(1000);
const ends = [];
for (let n = 0; n < Number(values.restarts); n++) {
  const which = n % 2;
  ends.push(await leave(servers[which]));
  servers[which] = await start(ports[which]);
  await sleep(settle);
  process.stderr.write(`\rrestart ${n + 1}/${values.restarts}`);
}
const { requests, posts, failures, latencies, seconds } = await load.stop();
process.stderr.write('\r\x1b[K');
for (const began = performance.now(); (await service.waiting()) > 0 && performance.now() - began < PATIENCE;) await sleep(100);
ends.push(...(await Promise.all(servers.map(leave))));

const one = async (text) => (await db.query(text))[0].n;
const count = {
  orders: await one('SELECT count(*)::int AS n FROM orders'),
  undone: await one('SELECT count(*)::int AS n FROM orders LEFT JOIN shipments USING (key) WHERE coalesce(done, 0) = 0'),
  twice: await one('SELECT count(*)::int AS n FROM shipments WHERE begun > 1 OR done > 1'),
  failed: await service.failed(),
};
const left = { PostgreSQL: await db.connections(), Redis: await cache.connections(), RabbitMQ: await service.connections() };
const sorted = Float64Array.from(latencies).sort();
const ms = (q) => `${Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))])} ms`;

console.log('| service | balancer | server | restarts | requests | requests/s | failed | orders | jobs not done | begun again | failed | connections left | p50 | p99 | max |');
console.log('|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|');
console.log(`| ${[
  values.service, values.balancer, values.server, values.restarts, requests, Math.round(requests / seconds), `**${failures.length}**`,
  count.orders, `**${count.undone}**`, `**${count.twice}**`, count.failed, Object.values(left).reduce((sum, n) => sum + n), ms(0.5), ms(0.99), ms(1),
].join(' | ')} |`);

const wrong = [];
for (const kind of new Set(failures.map(({ method, kind }) => `${method} ${kind}`))) {
  wrong.push(`${failures.filter((one) => `${one.method} ${one.kind}` === kind).length} × ${kind}`);
}
if (failures.length === 0 && count.orders !== posts) wrong.push(`${posts} orders were accepted, ${count.orders} are in the database`);
if (count.undone > 0) wrong.push(`${count.undone} jobs were not done`);
if (count.twice > 0) wrong.push(`${count.twice} jobs were begun more than once`);
if (count.failed > 0) wrong.push(`${count.failed} jobs failed`);
for (const [name, n] of Object.entries(left)) if (n > 0) wrong.push(`${name} has ${n} connections left`);
for (const { fault, said } of ends) if (fault) wrong.push(`a server ${fault}; it said:\n${said}`);
for (const line of wrong) console.error(`  ${line}`);
process.exit(wrong.length === 0 ? 0 : 1);
