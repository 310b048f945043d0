// Rolling restarts of two servers behind a real balancer, under load; fails when one request fails.
//   node run.mjs [--balancer nginx,haproxy-http,haproxy-tcp,haproxy-http2|all] [--restarts 6] [--clients 60]
//                [--server lameduck|fastify|hono|plain|close|stoppable|http-terminator|…+2s] [--hold stream,websocket] [--least 0]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, existsSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { balancers, startBalancer } from './balancers.mjs';
import { startHolding } from './hold.mjs';
import { startLoad } from './load.mjs';

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
const fits = (name) => !(values.server in PROGRAMS && balancers[name].server);
const names = values.balancer === 'all' ? Object.keys(balancers).filter(fits) : values.balancer.split(',');
if (!names.every((name) => name in balancers)) throw new Error(`no balancer ${values.balancer}; there are ${Object.keys(balancers).join(', ')} and all`);
if (!names.every(fits)) throw new Error(`${names.find((name) => !fits(name))} speaks to ${balancers[names.find((name) => !fits(name))].server}, not to ${values.server}`);
const kinds = values.hold.split(',').filter((kind) => kind !== '');
if (!kinds.every((kind) => ['stream', 'websocket'].includes(kind))) throw new Error(`--hold takes stream and websocket, not ${values.hold}`);
const restarts = Number(values.restarts);
/** A server that takes longer than this to stop or to start has failed. */
const PATIENCE = 16_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const children = new Set();
const folders = new Set();
process.on('exit', () => {
  for (const { pid } of children) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** Notes a child so that its whole process group dies with this process, and keeps the end of what it says. */
function watch(child) {
  children.add(child);
  child.said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (child.said = (child.said + text).slice(-4000)));
  child.on('error', (error) => (child.said += error.message));
  child.gone = once(child, 'close').then(([code, signal]) => {
    children.delete(child);
    return { code, signal };
  }, () => children.delete(child));
  return child;
}

/** Ports below the ephemeral range: while a server is down, no client's own port may take its place. */
async function freePort() {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 15_000);
    const free = await new Promise((resolve) => {
      const probe = net.createServer().once('error', () => resolve(false)).listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

const get = (port, path) => new Promise((resolve) => {
  http.get({ host: '127.0.0.1', port, path, agent: false, timeout: 2000 }, (res) => resolve(res.resume().statusCode)).on('error', () => resolve(0)).on('timeout', (req) => req?.destroy());
});

const get2 = (port, path) => new Promise((resolve) => {
  const session = http2.connect(`http://127.0.0.1:${port}`).on('error', () => resolve(0)).on('close', () => resolve(0));
  const stream = session.request({ ':path': path }).on('error', () => resolve(0)).setTimeout(2000, () => session.destroy());
  stream.on('response', (headers) => {
    resolve(headers[':status']);
    session.destroy();
  });
});

async function startServer(name, port) {
  const { server = PROGRAMS[values.server] ?? 'server.mjs' } = balancers[name];
  const program = fileURLToPath(new URL(server, import.meta.url));
  const child = watch(spawn(process.execPath, [program, values.server], {
    env: { ...process.env, PORT: String(port), NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  }));
  await until(child, () => (server === 'server-http2.mjs' ? get2 : get)(port, '/readyz'));
  return child;
}

async function until(child, probe) {
  for (const began = performance.now(); (await probe()) !== 200; await sleep(30)) {
    if (child.exitCode !== null || performance.now() - began > PATIENCE) throw new Error(`${child.spawnfile} did not come up; it said:\n${child.said}`);
  }
}

/** Sends SIGTERM; resolves with how the server went and how long it took. */
async function stopServer(child) {
  const began = performance.now();
  child.kill('SIGTERM');
  const end = await Promise.race([child.gone, sleep(PATIENCE)]);
  if (!end) {
    // As an orchestrator does.
    child.kill('SIGKILL');
    return { ...(await child.gone), took: PATIENCE, said: child.said };
  }
  return { ...end, took: performance.now() - began, said: child.said };
}

async function roll(name) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-rolling-'));
  folders.add(folder);
  const ports = [await freePort(), await freePort()];
  const front = await freePort();
  const servers = [await startServer(name, ports[0]), await startServer(name, ports[1])];
  const balancer = watch(startBalancer(name, folder, front, ports));
  await until(balancer, () => get(front, '/item/0'));
  await sleep(balancers[name].settle);

  const load = startLoad(front, { clients: Number(values.clients) });
  const held = startHolding(front, kinds.filter((kind) => (balancers[name].holds ?? kinds).includes(kind)));
  await sleep(1500);
  const marks = [];
  for (let n = 0; n < restarts; n++) {
    const which = n % 2;
    const began = performance.now();
    const end = await stopServer(servers[which]);
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
    if (code === 0 || (values.server === 'plain' && signal === 'SIGTERM')) continue;
    ok = false;
    console.error(`  a server left with ${code ?? signal}; it said:\n${said}`);
  }
}
for (const line of left) console.log(line);
process.exit(ok ? 0 : 1);
