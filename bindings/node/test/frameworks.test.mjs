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
  { name: 'Vite as middleware', program: 'vite/server.mjs', load: { path: '/page', headers: { Host: 'localhost' } }, closes: 'vite' },
  { name: 'NestJS over Express', program: 'nestjs/graceful.ts', load: JSON_BODY, closes: 'nest' },
  { name: 'NestJS over Fastify', program: 'nestjs/graceful.ts', load: JSON_BODY, closes: 'nest', env: { ADAPTER: 'fastify' } },
];

/** Eight clients that post without a pause, one request that takes 500 ms, and SIGTERM in the midst of them. */
async function stopUnderLoad(t, program, { env, load = RAW }) {
  const server = await startExample(t, program, { env });
  const clients = startClients(server.port, 8, load);
  t.after(() => clients.stop());
  const slow = await connect(server.port);
  const answer = slow.request('/slow', { headers: load.headers }).then(({ status }) => status, (error) => error.message);
  while (clients.answered < 20) await sleep(10);
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
    assertReport(end, 0);
    if (!closes) return;
    assert.equal(hook(end.report, closes).result, 'ok');
    if (closes === 'vite') return;
    const written = server.journal().split('\n');
    assert.ok(written.filter((line) => line !== '').length >= clients.answered + 1, 'an answer was given for what was never written');
    if (closes === 'nest') assert.match(server.journal(), /shut down: SIGTERM\n$/);
  });
}

/** What goes wrong without lameduck, in the way that each framework's documentation teaches. */
const USUAL = [
  { name: 'Fastify 5 with close-with-grace', program: 'fastify/plain.mjs' },
  { name: 'NestJS with enableShutdownHooks()', program: 'nestjs/plain.ts', load: JSON_BODY },
  { name: 'Koa with server.close()', program: 'koa/plain.mjs', stays: true },
  { name: 'Hono with server.close()', program: 'hono/plain.mjs', stays: true },
  { name: 'Express 5 with server.close()', program: 'express/plain.mjs', stays: true },
];

for (const { name, program, stays, ...options } of USUAL) {
  test(`${name} ${stays ? 'goes on while its clients do, or fails requests' : 'fails requests'}`, async (t) => {
    const { server, clients } = await stopUnderLoad(t, program, options);
    const { answered } = clients;
    // 503 or 500 while it closes, and whoever is still connected, or idle for a moment, is cut: which of them is a race.
    const over = await Promise.race([Promise.all([server.end(), clients.gone]), sleep(1500)]);
    const goesOn = over === undefined && clients.answered > answered;
    assert.ok(clients.failures.length > 0 || (stays && goesOn), `no request failed, and it ${goesOn ? 'goes on' : 'is gone'}`);
  });
}
