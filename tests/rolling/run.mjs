// Rolling restarts of two servers behind a real balancer, under load; fails when one request fails.
//   node run.mjs [--balancer nginx,haproxy-http,haproxy-tcp,haproxy-http2|all] [--restarts 6] [--clients 60]
//                [--server lameduck|fastify|hono|plain|close|stoppable|http-terminator|…+2s|uvicorn|epoll|epoll-without|…] [--hold stream,websocket] [--least 0]
import { existsSync, readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort, run, temporaryFolder, until, watch } from '../support/children.mjs';
import { get, sleep, stop } from '../support/restarts.mjs';
import { balancers, startBalancer } from './balancers.mjs';
import { startHolding } from './hold.mjs';
import { startLoad } from './load.mjs';
import { nativeCommand, nativeServers } from './native.mjs';
import { pythonCommand, pythonServers } from './python.mjs';

const { values } = parseArgs({
  options: {
    balancer: { type: 'string', default: 'all' },
    server: { type: 'string', default: 'lameduck' },
    restarts: { type: 'string', default: '6' },
    clients: { type: 'string', default: '60' },
    hold: { type: 'string', default: '' },
    least: { type: 'string', default: '0' },
  },
});
/** The programs that are not the Express server. */
const PROGRAMS = { fastify: 'server-fastify.mjs', hono: 'server-hono.mjs' };
const foreign = pythonServers[values.server] ?? nativeServers[values.server];
const foreignCommand = values.server in pythonServers ? pythonCommand : nativeCommand;
const fits = (name) => !((values.server in PROGRAMS || foreign) && balancers[name].server);
const names = values.balancer === 'all' ? Object.keys(balancers).filter(fits) : values.balancer.split(',');
if (!names.every((name) => name in balancers)) throw new Error(`no balancer ${values.balancer}; there are ${Object.keys(balancers).join(', ')} and all`);
if (!names.every(fits)) throw new Error(`${names.find((name) => !fits(name))} speaks to ${balancers[names.find((name) => !fits(name))].server}, not to ${values.server}`);
const kinds = values.hold.split(',').filter((kind) => kind !== '');
if (!kinds.every((kind) => ['stream', 'websocket'].includes(kind))) throw new Error(`--hold takes stream and websocket, not ${values.hold}`);
const restarts = Number(values.restarts);

const get2 = (port, path) => new Promise((resolve) => {
  const session = http2.connect(`http://127.0.0.1:${port}`).on('error', () => resolve(0)).on('close', () => resolve(0));
  const stream = session.request({ ':path': path }).on('error', () => resolve(0)).setTimeout(2000, () => session.destroy());
  stream.on('response', (headers) => {
    resolve(headers[':status']);
    session.destroy();
  });
});

function runNode(server, port) {
  const program = fileURLToPath(new URL(server, import.meta.url));
  return run(process.execPath, [program, values.server], { env: { ...process.env, PORT: String(port), NODE_ENV: 'production' } });
}

async function startServer(name, port) {
  const { server = PROGRAMS[values.server] ?? 'server.mjs' } = balancers[name];
  const child = foreign ? run(...await foreignCommand(values.server, port)) : runNode(server, port);
  await until(child, async () => (await (server === 'server-http2.mjs' ? get2 : get)(port, '/readyz')) === 200);
  return child;
}

async function roll(name) {
  const folder = temporaryFolder('rolling');
  const ports = [await freePort(), await freePort()];
  const front = await freePort();
  const servers = [await startServer(name, ports[0]), await startServer(name, ports[1])];
  const balancer = watch(startBalancer(name, folder, front, ports));
  await until(balancer, async () => (await get(front, '/item/0')) === 200);
  await sleep(balancers[name].settle);

  const load = startLoad(front, { clients: Number(values.clients) });
  const held = startHolding(front, kinds.filter((kind) => [balancers[name], foreign].every((side) => (side?.holds ?? kinds).includes(kind))));
  await sleep(1500);
  const marks = [];
  for (let n = 0; n < restarts; n++) {
    const which = n % 2;
    const began = performance.now();
    const end = await stop(servers[which]);
    servers[which] = await startServer(name, ports[which]);
    await sleep(balancers[name].settle);
    marks.push({ began, ...end });
    process.stderr.write(`\r${name}: restart ${n + 1}/${restarts}`);
  }
  const { ended, failures } = await held.stop();
  const result = await load.stop();
  result.failures.push(...failures);
  process.stderr.write('\r\x1b[K');
  for (const child of [...servers, balancer]) process.kill(-child.pid, 'SIGKILL');
  await Promise.all([...servers, balancer].map((child) => child.gone));
  const log = join(folder, 'error.log');
  return { name, marks, log: existsSync(log) ? readFileSync(log, 'utf8') : balancer.said, ended, ...result };
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

function print({ name, marks, requests, posts, latencies, failures, seconds, log }) {
  const sorted = Float64Array.from(latencies).sort();
  const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  const took = marks.map((mark) => mark.took);
  console.log(`| ${[
    name, values.server, marks.length, requests, posts, Math.round(requests / seconds), `**${failures.length}**`, (failures.length / marks.length).toFixed(1),
    ...[0.5, 0.99, 0.999, 1].map((q) => ms(quantile(sorted, q))), `${ms(Math.min(...took))}–${ms(Math.max(...took))}`,
  ].join(' | ')} |`);
  const kinds = {};
  for (const { method, kind } of failures) kinds[`${method} ${kind}`] = (kinds[`${method} ${kind}`] ?? 0) + 1;
  for (const [kind, count] of Object.entries(kinds)) console.error(`  ${count} × ${kind}`);
  for (const { at } of failures.slice(0, 5)) {
    const mark = marks.findLast(({ began }) => began <= at);
    if (mark) console.error(`  ${Math.round(at - mark.began)} ms after a SIGTERM`);
  }
  if (failures.length > 0 && log) console.error(log.split('\n').slice(-6).join('\n'));
}

const left = [];
console.log('| balancer | server | restarts | requests | POST | requests/s | failed | failed per restart | p50 | p99 | p99.9 | max | SIGTERM to exit |');
console.log('|---|---|---|---|---|---|---|---|---|---|---|---|---|');
let ok = true;
for (const name of names) {
  const result = await roll(name);
  print(result);
  if (result.failures.length > 0) ok = false;
  const rate = Math.round(result.requests / result.seconds);
  if (rate < Number(values.least)) {
    ok = false;
    console.error(`  only ${rate} requests/s went through, less than ${values.least}: a busy machine, or too few --clients`);
  }
  for (const [kind, times] of Object.entries(result.ended)) {
    left.push(`${name}: the held ${kind} was ended ${times} times in its protocol's manner, and came back`);
    if (times > 0 || restarts < 2) continue;
    ok = false;
    console.error(`  the held ${kind} was never ended`);
  }
  for (const { code, signal, said } of result.marks) {
    // uvicorn, once it has drained, ends by the signal that told it to.
    if (code === 0 || (signal !== null && signal === (values.server === 'plain' ? 'SIGTERM' : foreign?.leaves))) continue;
    ok = false;
    console.error(`  a server left with ${code ?? signal}; it said:\n${said}`);
  }
}
for (const line of left) console.log(line);
process.exit(ok ? 0 : 1);
