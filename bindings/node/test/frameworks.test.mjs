// The servers of examples/, with the real frameworks: stopped by SIGTERM under keep-alive clients, with lameduck and in the usual way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { startClients } from './support/clients.mjs';
import { startExample } from './support/example.mjs';
import { assertReport, hook } from './support/report.mjs';
import { sleep } from './support/server.mjs';

const RAW = { method: 'POST', path: '/echo', headers: { 'Content-Type': 'application/octet-stream' }, body: 'what was posted', expected: 'what was posted' };
const JSON_BODY = { ...RAW, headers: { 'Content-Type': 'application/json' }, body: '{"n":1}', expected: '{"n":1}' };

const FRAMEWORKS = [
  { name: 'Express 5', program: 'express/graceful.mjs' },
  { name: 'Express 4', program: 'express/graceful.mjs', env: { EXPRESS: 'express4' } },
  { name: 'Fastify 5', program: 'fastify/graceful.mjs', closes: 'fastify' },
  { name: 'Koa', program: 'koa/graceful.mjs', closes: 'journal' },
  { name: 'Hono', program: 'hono/graceful.mjs', closes: 'journal' },
  { name: 'NestJS over Express', program: 'nestjs/graceful.ts', load: JSON_BODY, closes: 'nest' },
  { name: 'NestJS over Fastify', program: 'nestjs/graceful.ts', load: JSON_BODY, closes: 'nest', env: { ADAPTER: 'fastify' } },
];

/** Eight clients that post without a pause, one request that takes 500 ms, and SIGTERM in the midst of them. */
async function stopUnderLoad(t, program, { env, load = RAW }) {
  const server = await startExample(t, program, { env });
  const clients = startClients(server.port, 8, load);
  t.after(() => clients.stop());
  const slow = await connect(server.port);
  const answer = slow.request('/slow').then(({ status }) => status, (error) => error.message);
  await sleep(200);
  server.signal();
  clients.moveOn();
  return { server, clients, answer };
}

for (const { name, program, closes, ...options } of FRAMEWORKS) {
  test(`${name}: no request fails, what it needs closes after the last one, exit 0`, async (t) => {
    const { server, clients, answer } = await stopUnderLoad(t, program, options);
    await clients.gone;
    assert.equal(await answer, 200);
    const end = await server.end();
    assert.deepEqual(clients.failures, []);
    assert.ok(clients.answered > 20, `only ${clients.answered} requests`);
    assertReport(end, 0);
    assert.ok(end.after < 3000, `took ${end.after} ms`);
    if (!closes) return;
    assert.equal(hook(end.report, closes).result, 'ok');
    const written = server.journal().split('\n');
    assert.ok(written.filter((line) => line !== '').length >= clients.answered + 1, 'an answer was given for what was never written');
    if (closes === 'nest') assert.match(server.journal(), /shut down: SIGTERM\n$/);
  });
}

/** What goes wrong without lameduck, in the way that each framework's documentation teaches. */
const USUAL = [
  { name: 'Fastify 5 with close-with-grace', program: 'fastify/plain.mjs', wrong: /status 503/ },
  { name: 'NestJS with enableShutdownHooks()', program: 'nestjs/plain.ts', load: JSON_BODY, wrong: /status 500|ECONNRESET/ },
  { name: 'Koa with server.close()', program: 'koa/plain.mjs', wrong: 'stays' },
  { name: 'Hono with server.close()', program: 'hono/plain.mjs', wrong: 'stays' },
  { name: 'Express 5 with server.close()', program: 'express/plain.mjs', wrong: 'stays' },
];

for (const { name, program, wrong, ...options } of USUAL) {
  test(`${name} ${wrong === 'stays' ? 'goes on while its clients do' : 'fails requests'}`, async (t) => {
    const { server, clients } = await stopUnderLoad(t, program, options);
    if (wrong === 'stays') {
      const { answered } = clients;
      await sleep(1500);
      assert.equal(server.child.exitCode, null);
      assert.ok(clients.answered > answered);
    } else {
      await Promise.race([server.end(), sleep(2000)]);
      assert.match(clients.failures.join('; '), wrong);
    }
  });
}
