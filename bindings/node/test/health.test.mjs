// Liveness and readiness: off unless asked for, ready only once listening, failing from the first moment of the drain.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, request } from './support/client.mjs';
import { BUDGET, start } from './support/server.mjs';
import { assertReport } from './support/report.mjs';

const PATHS = { livePath: '/livez', readyPath: '/readyz' };
const WIDE = { ...BUDGET, window: 1000 };
const draining = (server) => server.event('phase', ({ name }) => name === 'draining');

test('off unless asked for: the application answers those paths itself', async (t) => {
  const server = await start(t);
  for (const path of ['/livez', '/readyz', '/health']) {
    const { status, text } = await request(server.port, path);
    assert.deepEqual({ status, text }, { status: 404, text: 'no such route' });
  }
});

test('on: 200 with status and phase as JSON; 503 from readiness, not from liveness, once draining', async (t) => {
  const server = await start(t, { options: { ...WIDE, health: PATHS } });
  for (const path of ['/livez', '/readyz']) {
    const { status, headers, text } = await request(server.port, path);
    assert.equal(status, 200);
    assert.match(headers['content-type'], /json/);
    const body = JSON.parse(text);
    assert.equal(body.phase, 'serving');
    assert.equal(typeof body.status, 'string');
  }
  assert.equal((await request(server.port, '/fast')).text, 'fast');
  server.signal();
  await draining(server);
  const ready = await request(server.port, '/readyz');
  assert.equal(ready.status, 503);
  assert.equal(JSON.parse(ready.text).phase, 'draining');
  assert.equal((await request(server.port, '/livez')).status, 200);
  assert.equal((await request(server.port, '/fast')).status, 200, 'ordinary requests are still served');
  assertReport(await server.end(), 0);
});

test('one path alone', async (t) => {
  const server = await start(t, { options: { ...BUDGET, health: { readyPath: '/ready' } } });
  assert.equal((await request(server.port, '/ready')).status, 200);
  assert.equal((await request(server.port, '/livez')).status, 404);
});

test('HEAD and query strings are answered too', async (t) => {
  const server = await start(t, { options: { ...BUDGET, health: PATHS } });
  assert.equal((await request(server.port, '/readyz?verbose=1')).status, 200);
  const conn = await connect(server.port);
  conn.write('HEAD /readyz HTTP/1.0\r\n\r\n');
  assert.match(await conn.until('\r\n\r\n'), /^HTTP\/1\.1 200 /);
});

test("an Express application, whose own routes stay its own", async (t) => {
  const server = await start(t, { options: { ...WIDE, health: PATHS }, express: true });
  assert.equal((await request(server.port, '/readyz')).status, 200);
  assert.equal((await request(server.port, '/fast')).text, 'fast');
  assert.equal((await request(server.port, '/none')).status, 404);
  server.signal();
  await draining(server);
  assert.equal((await request(server.port, '/readyz')).status, 503);
  assertReport(await server.end(), 0);
});

test('newRequests: refuse goes on answering the probes', async (t) => {
  const server = await start(t, { options: { ...WIDE, newRequests: 'refuse', health: PATHS } });
  server.signal();
  await draining(server);
  assert.equal((await request(server.port, '/livez')).status, 200);
});

test("readiness: 'keep' answers 200 while draining", async (t) => {
  const server = await start(t, { options: { ...WIDE, readiness: 'keep', health: PATHS } });
  server.signal();
  await draining(server);
  const { status, text } = await request(server.port, '/readyz');
  assert.equal(status, 200);
  assert.equal(JSON.parse(text).phase, 'draining');
});

test('checks: one that fails, throws or hangs makes it 503 and is named; liveness does not care', async (t) => {
  for (const [name, check] of [
    ['rejects', "async () => { throw new Error('password=hunter2'); }"],
    ['throws', "() => { throw new Error('down'); }"],
    ['hangs', '() => new Promise(() => {})'],
  ]) {
    const server = await start(t, {
      options: `() => (${JSON.stringify({ ...BUDGET, health: PATHS })})`.replace('"readyPath"', `"checks":{"fine":()=>true,"${name}":${check}},"readyPath"`),
    });
    const began = performance.now();
    const { status, text } = await request(server.port, '/readyz');
    assert.equal(status, 503, name);
    assert.match(text, new RegExp(name));
    assert.doesNotMatch(text, /hunter2/, 'an error message may hold secrets and is not for strangers');
    assert.ok(performance.now() - began < 6000);
    assert.equal((await request(server.port, '/livez')).status, 200);
    await server.kill();
  }
});

test('checks that pass: 200; they are asked on every probe', async (t) => {
  const server = await start(t, {
    options: (ctx) => ({ grace: 2000, window: 300, quiet: 150, health: { readyPath: '/readyz', checks: { db: async () => { if (ctx.broken) throw new Error('down'); } } } }),
  });
  assert.equal((await request(server.port, '/readyz')).status, 200);
  await server.run((ctx) => { ctx.broken = true; });
  assert.equal((await request(server.port, '/readyz')).status, 503);
  await server.run((ctx) => { ctx.broken = false; });
  assert.equal((await request(server.port, '/readyz')).status, 200);
});

test('ready only once listening, and no longer once draining', async (t) => {
  const server = await start(t, { listen: false });
  assert.equal(await server.run(({ duck }) => duck.ready), false);
  await server.run(({ listen }) => listen());
  assert.equal(await server.run(({ duck }) => duck.ready), true);
  assert.equal(await server.run(({ duck }) => duck.phase), 'serving');
  await server.run(({ duck }) => { duck.shutdown({ cause: 'test' }); });
  assert.equal(await server.run(({ duck }) => duck.ready), false);
  assert.equal(await server.run(({ duck }) => duck.phase), 'draining');
});
