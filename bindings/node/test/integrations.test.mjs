// What a program may do beside lameduck in Fastify and Nest, servers with two addresses, and Unix sockets.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';
import { connect, request } from './support/client.mjs';
import { startClients } from './support/clients.mjs';
import { startExample } from './support/example.mjs';
import { assertReport, assertVerdict, hook } from './support/report.mjs';
import { BUDGET, sleep, start } from './support/server.mjs';

const FASTIFY = new URL('fixtures/fastify.mjs', import.meta.url);
const NEST = new URL('fixtures/nestjs.mjs', import.meta.url);

async function stopUnderLoad(t, program, use, hosts = ['127.0.0.1']) {
  const server = await startExample(t, program, { env: { USE: use } });
  const groups = hosts.map((host) => startClients(server.port, 4, { host }));
  t.after(() => Promise.all(groups.map((clients) => clients.stop())));
  for (const clients of groups) while (clients.answered <= 10) await sleep(10);
  server.signal();
  for (const clients of groups) clients.moveOn();
  await Promise.all(groups.map((clients) => clients.gone));
  for (const { failures } of groups) assert.deepEqual(failures, []);
  return { server, groups, end: await server.end() };
}

test('Fastify: close-with-grace beside lameduck neither answers 503 nor ends the process before its hooks', async (t) => {
  const { end } = await stopUnderLoad(t, FASTIFY, 'close-with-grace');
  assertReport(end, 0);
  assert.match(end.stderr, /onClose in closing[^]*flushed/);
  assert.equal(hook(end.report, 'logs').result, 'ok');
});

test('Fastify: both servers that localhost opens are drained', async (t) => {
  const { end } = await stopUnderLoad(t, FASTIFY, 'two-addresses', ['127.0.0.1', '127.0.0.2']);
  assertReport(end, 0);
  assert.ok(end.report.connections.adopted + end.report.connections.opened >= 8, JSON.stringify(end.report.connections));
  assert.match(end.stderr, /127\.0\.0\.1[^]*127\.0\.0\.2|127\.0\.0\.2[^]*127\.0\.0\.1/);
});

test('Fastify: a WebSocket that one server hands to the other counts once', async (t) => {
  const server = await startExample(t, FASTIFY, { env: { USE: 'two-addresses websocket' } });
  const client = new WebSocket(`ws://127.0.0.2:${server.port}`);
  t.after(() => client.terminate());
  await once(client, 'open');
  server.signal();
  const [code] = await once(client, 'close');
  assert.equal(code, 1012);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
});

test('Vite: the WebSocket of its hot updates is closed like any other, before vite.close()', async (t) => {
  const server = await startExample(t, 'vite/server.mjs');
  const client = new WebSocket(`ws://localhost:${server.port}`, 'vite-hmr');
  t.after(() => client.terminate());
  await once(client, 'open');
  server.signal();
  const [code] = await once(client, 'close');
  assert.equal(code, 1012);
  const end = await server.end();
  assertReport(end, 0);
  assert.equal(hook(end.report, 'vite').result, 'ok');
});

test("Fastify: app.close() while serving is Fastify's own, as tests call it, and the process ends by itself", async (t) => {
  const server = await startExample(t, FASTIFY, { env: { USE: 'one-address' } });
  assert.equal((await request(server.port, '/close')).text, 'closing');
  const end = await server.end();
  assert.equal(end.code, 0, end.stderr);
  assert.match(end.stderr, /onClose in serving\n[^]*closed by itself/);
});

test("Fastify's own log takes the lines, when there is one", async (t) => {
  const server = await startExample(t, FASTIFY, { env: { USE: 'logger' } });
  server.signal();
  const { code, stderr } = await server.end();
  assert.equal(code, 0);
  assert.match(stderr, /^\{"level":30,.*"msg":"lameduck: stopping/m);
  assert.doesNotMatch(stderr, /^lameduck:/m);
});

test('Nest: enableShutdownHooks(), and app.close() from a signal handler, run nothing under a request', async (t) => {
  const { end } = await stopUnderLoad(t, NEST, '');
  assertReport(end, 0);
  assert.equal(end.stderr.match(/^destroyed$/gm).length, 1);
  assert.ok(end.stderr.indexOf('\ndestroyed') > end.stderr.indexOf('lameduck: closing'), end.stderr);
});

test('a server on a Unix socket is drained like any other', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-unix-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'socket');
  const server = await start(t, { listen: false, options: BUDGET });
  await server.run(({ server }, where) => new Promise((resolve) => server.listen(where, resolve)), path);
  const clients = startClients(path, 4, { path: '/fast', expected: 'fast' });
  t.after(() => clients.stop());
  const slow = (await connect(path)).request('/slow?ms=700');
  await server.event('slow');
  server.signal();
  clients.moveOn();
  await clients.gone;
  assert.deepEqual(clients.failures, []);
  assert.equal((await slow).text, 'slow');
  assertReport(await server.end(), 0);
  assert.equal(existsSync(path), false, 'whoever comes next can listen there');
});

test('several servers of several kinds: each is drained, none waits for another', async (t) => {
  const server = await start(t, {
    options: BUDGET,
    setup: async ({ duck, http, http2, listen, say }) => {
      const plain = http.createServer((_req, res) => setTimeout(() => res.end('second'), 600));
      const sessions = http2.createServer((_req, res) => setTimeout(() => res.end('third'), 600));
      duck.add(plain).add(sessions);
      say('more', { second: await listen(plain), third: await listen(sessions) });
    },
  });
  const { second, third } = await server.event('more');
  const { default: http2 } = await import('node:http2');
  const session = http2.connect(`http://127.0.0.1:${third}`).on('error', () => {});
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/' });
  const texts = [
    request(second, '/').then(({ text }) => text),
    once(stream.setEncoding('utf8'), 'data').then(([text]) => text),
    request(server.port, '/slow?ms=600').then(({ text }) => text),
  ];
  await server.event('slow');
  await sleep(50);
  server.signal();
  assert.deepEqual(await Promise.all(texts), ['second', 'third', 'slow']);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 3);
});

test('the integrations have types that fit those of Fastify and Nest', () => {
  const tsc = createRequire(new URL('../package.json', import.meta.url)).resolve('typescript/bin/tsc');
  const project = fileURLToPath(new URL('fixtures/frameworks.tsconfig.json', import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', project], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});
