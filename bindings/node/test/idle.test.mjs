// Idle and silent connections: closed, but never under a request, and never in the way of the exit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

test('a connection that never sent a byte is closed, exit 0', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  await sleep(50);
  server.signal();
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET, 3000);
});

test('an idle keep-alive connection is closed with a clean end, after the quiet period and not before', async (t) => {
  const budget = { ...BUDGET, quiet: 800 };
  const server = await start(t, { options: budget });
  const conn = await connect(server.port);
  await conn.request('/fast');
  server.signal();
  const { how } = await conn.closed;
  const closedAfter = server.elapsed;
  assert.equal(how, 'end');
  assert.ok(closedAfter >= budget.quiet - 20, `closed ${closedAfter} ms after the signal`);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, budget, 3500);
});

test('a request sent on an idle connection after the window, within the quiet period, is served', async (t) => {
  const budget = { ...BUDGET, quiet: 800 };
  const server = await start(t, { options: budget });
  const conn = await connect(server.port);
  await conn.request('/fast');
  server.signal();
  await sleep(budget.window + budget.settle + 200);
  const { status, closes } = await conn.request('/fast');
  assert.deepEqual({ status, closes }, { status: 200, closes: true });
  assertReport(await server.end(), 0);
});

test('a client that pauses longer than the window loses nothing', async (t) => {
  const budget = { ...BUDGET, quiet: 900 };
  const server = await start(t, { options: budget });
  const conn = await connect(server.port);
  let answers = 0;
  for (;;) {
    const answer = await conn.request('/fast');
    assert.equal(answer.status, 200);
    answers += 1;
    if (answers === 1) server.signal();
    if (answer.closes) break;
    await sleep(600);
  }
  assert.ok(answers >= 2);
  assertReport(await server.end(), 0);
});

test('60 keep-alive clients that poll through the drain: not one request is lost', async (t) => {
  const budget = { ...BUDGET, window: 600, quiet: 400 };
  const server = await start(t, { options: budget });
  const lost = [];
  let served = 0;
  async function client(seed) {
    // As a pool does: reuse the connection until told otherwise, then open another while somebody listens.
    for (let n = 0; ; ) {
      const conn = await connect(server.port).catch((error) => error);
      if (conn instanceof Error) {
        if (conn.code !== 'ECONNREFUSED') lost.push(`connect: ${conn.code}`);
        return;
      }
      for (let told = false; !told; n++) {
        try {
          const { status, closes } = await conn.request('/fast');
          if (status !== 200) lost.push(`status ${status}`);
          served += 1;
          told = closes;
        } catch (error) {
          lost.push(error.message);
          return;
        }
        await sleep((seed * 37 + n * 53) % 150);
      }
      conn.destroy();
    }
  }
  const clients = Array.from({ length: 60 }, (_, seed) => client(seed));
  await sleep(400);
  server.signal();
  await Promise.all(clients);
  const end = await server.end();
  assert.deepEqual(lost, []);
  assertReport(end, 0);
  assert.ok(served > 150, `only ${served} requests`);
  assertVerdict(end.report, 'forced', 0);
});

test('nobody connected: the exit waits for no deadline', async (t) => {
  const server = await start(t);
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

for (const [what, requests] of [['first', 0], ['second', 1]]) {
  test(`half of a ${what} head before the signal: the last look keeps the connection until the head is whole`, async (t) => {
    const server = await start(t);
    const conn = await connect(server.port);
    for (let count = 0; count < requests; count++) await conn.request('/fast');
    const whole = head('/fast');
    conn.write(whole.slice(0, 20));
    await sleep(50);
    server.signal();
    // Closes are spread over the first second after t1; every idle connection is closed by then.
    await sleep(BUDGET.window + BUDGET.quiet + 1_150);
    conn.write(whole.slice(20));
    assert.equal((await conn.response()).status, 200);
    const end = await server.end();
    assertReport(end, 0);
  });
}
