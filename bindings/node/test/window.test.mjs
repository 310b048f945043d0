// The lame-duck window: still accepting and serving, while every client is asked to go elsewhere, not all at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, request } from './support/client.mjs';
import { BUDGET, assertGoneByT, sleep, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

const WIDE = { ...BUDGET, window: 1600, quiet: 200 };

test('new connections are served throughout the window; in its second half every answer says close', async (t) => {
  const server = await start(t, { options: WIDE });
  await request(server.port);
  server.signal();
  await server.event('phase', ({ name }) => name === 'draining');
  const announced = { first: [], second: [] };
  while (server.elapsed < WIDE.window - 100) {
    const half = server.elapsed > WIDE.window / 2 + 50 ? 'second' : 'first';
    const { status, closes } = await request(server.port);
    assert.equal(status, 200);
    announced[half].push(closes);
    await sleep(25);
  }
  assert.ok(announced.second.length > 5);
  assert.ok(announced.second.every(Boolean), `announced: ${announced.second}`);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', announced.first.length + announced.second.length);
});

test('Connection: close is spread over the first half of the window', async (t) => {
  const server = await start(t, { options: { ...WIDE, window: 3000 } });
  const firstTold = [];
  const conns = await Promise.all(Array.from({ length: 40 }, () => connect(server.port)));
  await Promise.all(conns.map((conn) => conn.request('/fast')));
  server.signal();
  await Promise.all(conns.map(async (conn) => {
    for (;;) {
      await sleep(20);
      if ((await conn.request('/fast')).closes) break;
    }
    firstTold.push(server.elapsed);
  }));
  const half = 3000 / 2;
  const tenths = Array(10).fill(0);
  for (const at of firstTold) tenths[Math.min(9, Math.floor((at / half) * 10))] += 1;
  assert.ok(Math.max(...firstTold) < half + 250, `the last was told after ${Math.max(...firstTold)} ms`);
  assert.ok(tenths.filter((n) => n > 0).length >= 5, `told per tenth of the first half: ${tenths}`);
  assert.ok(Math.max(...tenths) <= 16, `told per tenth of the first half: ${tenths}`);
  assertReport(await server.end(), 0);
});

test('the listener closes after the window, and answers no connection with a reset', async (t) => {
  const server = await start(t);
  // Something in flight keeps the process alive past the window.
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=1100');
  await server.event('slow');
  server.signal();
  const seen = new Set();
  const probes = [];
  while (server.elapsed < 900) {
    probes.push(request(server.port).then(({ status }) => seen.add(status), (error) => seen.add(error.code ?? error.message)));
    await sleep(3);
  }
  await Promise.all(probes);
  assert.deepEqual([...seen].sort(), [200, 'ECONNREFUSED']);
  assert.equal((await answer).status, 200);
  assertReport(await server.end(), 0);
});

test('connections made while the event loop is busy at the end of the window are served, none is reset', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, block }) => duck.onDrain('busy', () => {
      setTimeout(() => {
        say('busy');
        block(400);
      }, 200);
    }),
  });
  await request(server.port);
  server.signal();
  await server.event('busy');
  await sleep(50);
  const answers = await Promise.all(Array.from({ length: 50 }, () => request(server.port).then(({ status }) => status, (error) => error.code ?? error.message)));
  assert.deepEqual([...new Set(answers)], [200]);
  assertReport(await server.end(), 0);
});

test("newRequests: 'refuse' answers 503 with Connection: close, and counts it as refused", async (t) => {
  const server = await start(t, { options: { ...BUDGET, newRequests: 'refuse' } });
  const conn = await connect(server.port);
  const inFlight = conn.request('/slow?ms=600');
  await server.event('slow');
  server.signal();
  await server.event('phase', ({ name }) => name === 'draining');
  const { status, closes } = await request(server.port);
  assert.deepEqual({ status, closes }, { status: 503, closes: true });
  assert.equal((await inFlight).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'refused', 1);
  assertVerdict(end.report, 'completed', 1);
});

test('window: 0 closes the listener at once', async (t) => {
  const server = await start(t, { options: { ...BUDGET, window: 0 } });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=900');
  await server.event('slow');
  server.signal();
  await sleep(BUDGET.settle + 250);
  await assert.rejects(connect(server.port), { code: 'ECONNREFUSED' });
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneByT(end, BUDGET);
});
