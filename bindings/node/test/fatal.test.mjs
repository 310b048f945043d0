// A fatal error is a cause: no window, what is in flight is answered, exit 1.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { BUDGET, assertGoneByT, start } from './support/server.mjs';
import { assertCause, assertReport, assertVerdict } from './support/report.mjs';

const WIDE = { ...BUDGET, window: 2500 };

for (const [name, cause, fail] of [
  ['an uncaught exception', 'uncaught_exception', () => { setTimeout(() => { throw new Error('boom'); }); }],
  ['an unhandled rejection', 'unhandled_rejection', () => { Promise.reject(new Error('boom')); }],
]) {
  test(`${name} while serving: no window, in flight answered, exit 1`, async (t) => {
    const server = await start(t, { options: WIDE });
    const conn = await connect(server.port);
    const answer = conn.request('/slow?ms=600');
    await server.event('slow');
    server.signalled = performance.now();
    await server.run(fail);
    const { status, closes } = await answer;
    assert.deepEqual({ status, closes }, { status: 200, closes: true });
    const end = await server.end();
    assertReport(end, 1);
    assert.ok(end.after < WIDE.window - 300, `gone after ${end.after} ms: it went through the window`);
    assertCause(end.report, cause, 'Error: boom');
    assert.match(end.stderr, /boom/, 'the error itself must not be swallowed');
    assertVerdict(end.report, 'completed', 1);
  });
}

test('a fatal error during the drain: in flight answered, exit 1, the first cause stays', async (t) => {
  const server = await start(t, { options: WIDE });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=900');
  await server.event('slow');
  server.signal();
  await server.event('phase');
  await server.run(() => { setTimeout(() => { throw new Error('boom'); }); });
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, WIDE);
  assertCause(end.report, 'terminate', 'SIGTERM');
  assert.match(end.stderr, /boom/);
});

test("an application's own uncaughtException listener keeps its say: the process goes on", async (t) => {
  const server = await start(t, { setup: ({ say }) => process.on('uncaughtException', (error) => say('own', { message: error.message })) });
  await server.run(() => { setTimeout(() => { throw new Error('boom'); }); });
  assert.equal((await server.event('own')).message, 'boom');
  server.signal();
  const end = await server.end();
  assert.ok(end.report);
});

test("an application's own uncaughtException listener hears unhandled rejections too, as in Node itself", async (t) => {
  const server = await start(t, { setup: ({ say }) => process.on('uncaughtException', (error) => say('own', { message: error.message })) });
  await server.run(() => { Promise.reject(new Error('boom')); });
  assert.equal((await server.event('own')).message, 'boom');
  assert.equal(await server.run(({ duck }) => duck.phase), 'serving');
});
