// Signals and the other ways to ask for a stop.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, request } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertCause, assertReport, assertVerdict } from './support/report.mjs';

test('a second SIGTERM changes nothing', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=900');
  await server.event('slow');
  server.signal();
  await sleep(200);
  server.signal();
  await sleep(200);
  server.signal();
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  assertCause(end.report, 'terminate', 'SIGTERM');
});

test('SIGINT with no terminal drains like SIGTERM (PM2 stops so)', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=900');
  await server.event('slow');
  server.signal('SIGINT');
  await sleep(100);
  assert.equal((await request(server.port)).status, 200, 'the window is open');
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  assertCause(end.report, 'terminate', 'SIGINT');
});

for (const [when, wait] of [['within', 0], ['after', BUDGET.window + 100]]) {
  test(`SIGINT twice forces, the second ${when} the window: what is in flight is answered 503, exit 1, at once`, async (t) => {
    const server = await start(t);
    const conn = await connect(server.port);
    const answer = conn.request('/stuck');
    await server.event('stuck');
    server.signal('SIGINT');
    await server.event('phase');
    await sleep(wait);
    server.signal('SIGINT');
    assert.equal((await answer).status, 503);
    const end = await server.end();
    assert.ok(end.after < wait + 1000, `gone ${end.after} ms after the first SIGINT; standard error:\n${end.stderr}`);
    assertReport(end, 1);
    assertVerdict(end.report, 'forced', 1);
  });
}

test('SIGINT after SIGTERM does not lose the first cause', async (t) => {
  const server = await start(t, { options: TIGHT });
  const conn = await connect(server.port);
  conn.request('/slow?ms=400').catch(() => {});
  await server.event('slow');
  server.signal('SIGTERM');
  await sleep(100);
  server.signal('SIGINT');
  const end = await server.end();
  assertGoneByT(end, TIGHT);
  assertCause(end.report, 'terminate', 'SIGTERM');
});

test('SIGTERM before listening: the server never opens, exit 0', async (t) => {
  const server = await start(t, {
    listen: false,
    setup: ({ duck, server, say }) => duck.on('phase', () => {
      // What a slow start does when the stop overtakes it.
      try {
        server.once('error', (error) => say('late', { message: error.message }));
        server.listen(0, '127.0.0.1', () => say('opened'));
      } catch (error) {
        say('late', { message: error.message });
      }
    }),
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assert.ok(!server.saw('opened'), 'the server opened after the stop');
});

test('listen after the drain began is refused with the reason; the drain goes on', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=1000');
  await server.event('slow');
  server.signal();
  await server.event('phase');
  await assert.rejects(
    server.run(async ({ duck, http, listen }) => {
      const second = http.createServer();
      duck.add(second);
      await listen(second);
    }),
    { message: /drain|stop|shut/i },
  );
  assert.equal((await answer).status, 200);
  assertReport(await server.end(), 0);
});

test('duck.add: the requests of a second server count, and its listener closes', async (t) => {
  const server = await start(t);
  const port = await server.run(({ duck, http, app, listen, routes }) => {
    const second = http.createServer((req, res) => routes['/slow'](req, res));
    duck.add(second);
    return listen(second);
  });
  const conn = await connect(port);
  const answer = conn.request('/slow?ms=900');
  await server.event('slow');
  server.signal();
  await sleep(BUDGET.window + BUDGET.settle + 150);
  await assert.rejects(connect(port), { code: 'ECONNREFUSED' });
  const { status, closes } = await answer;
  assert.deepEqual({ status, closes }, { status: 200, closes: true });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('signals: only those asked for are handled', async (t) => {
  const server = await start(t, { options: { ...BUDGET, signals: ['SIGUSR2'] } });
  assert.equal(await server.run(() => process.listenerCount('SIGTERM')), 0);
  server.signal('SIGUSR2');
  const end = await server.end();
  assertReport(end, 0);
  assertCause(end.report, 'terminate', 'SIGUSR2');
});

test('signals: [] leaves every signal alone', async (t) => {
  const server = await start(t, { options: { ...BUDGET, signals: [] } });
  server.signal('SIGTERM');
  assert.equal((await server.end()).signal, 'SIGTERM');
});

test('a SIGTERM listener of the application still runs, and does not spoil the drain', async (t) => {
  const server = await start(t, { setup: ({ say }) => process.on('SIGTERM', () => say('own')) });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=700');
  await server.event('slow');
  server.signal();
  await server.event('own');
  assert.equal((await answer).status, 200);
  assertReport(await server.end(), 0);
});

test('shutdown({ cause }) needs no signal, is idempotent and resolves with the report', async (t) => {
  const server = await start(t, { options: { ...BUDGET, exit: false }, setup: (ctx) => { ctx.alive = setInterval(() => {}, 1000); } });
  const answer = await server.run(async ({ duck }) => {
    const [one, two] = [duck.shutdown({ cause: 'deploy' }), duck.shutdown({ cause: 'other' })];
    return { same: one === two, report: await one };
  });
  assert.equal(answer.same, true);
  assertCause(answer.report, 'programmatic', 'deploy');
  assert.equal(await server.run(({ duck }) => duck.phase), 'done');
  assert.equal(await server.run(({ duck }) => duck.drainSignal.aborted), true);
  await server.run(({ alive }) => clearInterval(alive));
  assertReport(await server.end(), 0);
});

test('exit: false resolves, sets process.exitCode and leaves the process alive, past T too', async (t) => {
  const server = await start(t, {
    options: { ...TIGHT, exit: false },
    setup: (ctx) => {
      ctx.alive = setInterval(() => {}, 1000);
      ctx.duck.onClose('broken', () => { throw new Error('broken'); });
    },
  });
  server.signal();
  await server.event('report');
  assert.equal(await server.run(() => process.exitCode), 1);
  await sleep(TIGHT.grace + 300 - server.elapsed);
  assert.equal(await server.run(() => 'alive'), 'alive');
  await server.run(({ alive }) => clearInterval(alive));
  assertReport(await server.end(), 1);
});

test('phases come in order, each once', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  await conn.request('/fast');
  server.signal();
  assertReport(await server.end(), 0);
  assert.deepEqual(server.events.filter(({ event }) => event === 'phase').map(({ name }) => name), ['draining', 'closing', 'done']);
});
