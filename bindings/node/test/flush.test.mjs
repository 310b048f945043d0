// Idle means flushed: a response that was ended but not yet taken by its reader is not over.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, assertGoneEarly, sleep, start } from './support/server.mjs';
import { pace } from './support/pace.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

for (const secure of [false, true]) {
  test(`a 30 MB response to a slow reader arrives whole (${secure ? 'https' : 'http'})`, async (t) => {
    const server = await start(t, { secure });
    const conn = await connect(server.port, { secure });
    conn.write(head('/big'));
    await server.event('big-ended');
    server.signal();
    const { status, body } = await conn.response({ between: pace(30_000_000, 2_000) });
    assert.deepEqual({ status, length: body.length }, { status: 200, length: 30_000_000 });
    assert.ok(server.elapsed > 1000, `the reader was too fast to prove anything: ${server.elapsed} ms`);
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET);
    assertVerdict(end.report, 'completed', 1);
  });
}

test('a stream whose headers went out before the signal ends in its own time, and its connection soon after', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/stream?ms=900'));
  await server.event('stream');
  server.signal();
  assert.equal((await conn.response()).text, 'first last');
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET, 3000);
});

test('after a response that could not announce the close, a request within the quiet period is served', async (t) => {
  const budget = { ...BUDGET, quiet: 800 };
  const server = await start(t, { options: budget });
  const conn = await connect(server.port);
  conn.write(head('/stream?ms=900'));
  await server.event('stream');
  server.signal();
  assert.equal((await conn.response()).closes, false);
  await sleep(400);
  const { status, closes } = await conn.request('/fast');
  assert.deepEqual({ status, closes }, { status: 200, closes: true });
  assertReport(await server.end(), 0);
});
