// Whatever hangs, the process is gone within 250 ms of T, says so in its exit code and names the culprit.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, drainDeadline, sleep, start } from './support/server.mjs';
import { assertNames, assertReport, assertVerdict, hook } from './support/report.mjs';

test('a stuck handler: 503, Retry-After and Connection: close at the drain deadline; exit 1; the report names it', async (t) => {
  const server = await start(t, { options: TIGHT });
  const conn = await connect(server.port);
  const answer = conn.request('/stuck?token=secret');
  await server.event('stuck');
  server.signal();
  const { status, headers, closes } = await answer;
  const answered = server.elapsed;
  assert.deepEqual({ status, closes }, { status: 503, closes: true });
  assert.match(headers['retry-after'] ?? '', /^\d+$/);
  assert.ok(Math.abs(answered - drainDeadline(TIGHT)) < 300, `answered after ${answered} ms; t2 is ${drainDeadline(TIGHT)}`);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertVerdict(end.report, 'forced', 1);
  assertNames(end.report, /GET/, /\/stuck/, /age/);
  assert.doesNotMatch(JSON.stringify(end.report), /secret/, 'a query string belongs in no report');
});

test('a stuck route of an Express application is named', async (t) => {
  const server = await start(t, { options: TIGHT, express: true });
  const conn = await connect(server.port);
  conn.write(head('/stuck', { method: 'POST', body: 'x' }) + 'x');
  await server.event('stuck');
  server.signal();
  assert.equal((await conn.response()).status, 503);
  const end = await server.end();
  assertReport(end, 1);
  assertNames(end.report, /POST/, /\/stuck/);
});

test('stuck after its headers went out: cut, forced, exit 1', async (t) => {
  const server = await start(t, { options: TIGHT });
  const conn = await connect(server.port);
  conn.write(head('/stuck-after-headers'));
  await server.event('stuck-after-headers');
  server.signal();
  // A clean end of a chunked body would be a lie: the answer was not whole.
  await assert.rejects(conn.response(), /ended/);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertVerdict(end.report, 'forced', 1);
});

test('an upload that stalls is answered or cut at the drain deadline', async (t) => {
  const server = await start(t, { options: TIGHT });
  const conn = await connect(server.port);
  conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': 1000 } }) + 'a part');
  await server.event('upload');
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertVerdict(end.report, 'forced', 1);
});

test("a server's own requestTimeout goes on working while it drains", async (t) => {
  const server = await start(t);
  // Node looks for timed-out requests at an interval, which its close() clears.
  const port = await server.run(({ duck, http, listen, routes }) => {
    const second = http.createServer({ requestTimeout: 900, headersTimeout: 900, connectionsCheckingInterval: 100 }, (req, res) => routes['/upload'](req, res));
    duck.add(second);
    return listen(second);
  });
  const conn = await connect(port);
  conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': 1000 } }) + 'a part');
  await server.event('upload');
  server.signal();
  assert.equal((await conn.response()).status, 408);
  assert.ok(server.elapsed < 2500, `the stalled upload was let go after ${server.elapsed} ms`);
  assertGoneEarly(await server.end(), BUDGET);
});

test('a slow reader that stops reading does not outlast the deadline', async (t) => {
  const server = await start(t, { options: TIGHT });
  const conn = await connect(server.port);
  conn.write(head('/big'));
  await server.event('big-ended');
  conn.socket.pause();
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertVerdict(end.report, 'forced', 1);
});

test('a close hook that never ends: gone by T, exit 1, named, and the flush hooks ran', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck, say }) => {
      duck.onClose('hung-pool', () => new Promise(() => {}));
      duck.onFlush('logs', () => say('hook', { name: 'logs' }));
    },
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assert.ok(server.saw('hook'), 'the flush hook did not run');
  assert.notEqual(hook(end.report, 'hung-pool').result, hook(end.report, 'logs').result);
});

test('a drain hook and a flush hook that never end: gone by T, exit 1', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck }) => {
      duck.onDrain('hung-consumer', () => new Promise(() => {}));
      duck.onFlush('hung-logs', () => new Promise(() => {}));
    },
  });
  server.signal();
  const end = await server.end();
  assert.equal(end.code, 1);
  assertGoneByT(end, TIGHT);
  // A flush hook may use the time to the very end: then it is the watchdog that reports, to standard error.
  assertNames(end.report ?? end.stderr, /hung-consumer/, /hung-logs/);
});

for (const [when, before] of [['before', true], ['after', false]]) {
  test(`an event loop blocked ${when} the signal: gone by T, exit 1, and standard error says so with counts`, async (t) => {
    const server = await start(t, { options: TIGHT });
    const [idle, one, two] = [await connect(server.port), await connect(server.port), await connect(server.port)];
    await idle.request('/fast');
    one.write(head('/stuck'));
    await server.event('stuck');
    if (!before) {
      server.signal();
      await server.event('phase', ({ name }) => name === 'draining');
    }
    two.write(head('/block'));
    await server.event('block');
    if (before) server.signal();
    const end = await server.end();
    assert.equal(end.code, 1, end.stderr);
    assertGoneByT(end, TIGHT);
    assert.match(end.stderr, /event loop blocked/);
    assert.match(end.stderr, /in.?flight"?\D{0,12}2\b|\b2\D{0,24}in.?flight/i);
  });
}

test('an event loop that a hook blocks: gone by T, exit 1, the hook is named', async (t) => {
  const server = await start(t, { options: TIGHT, setup: ({ duck, block }) => duck.onClose('blocking-pool', () => block()) });
  server.signal();
  const end = await server.end();
  assert.equal(end.code, 1);
  assertGoneByT(end, TIGHT);
  assert.match(end.stderr, /event loop blocked/);
  assert.match(end.stderr, /blocking-pool/);
});

test('full standard output and error pipes do not delay the exit', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck }) => duck.onClose('chatty', () => {
      // Pipes are written synchronously: this blocks for good once the reader's buffers are full.
      for (;;) console.error('x'.repeat(10_000));
    }),
  });
  server.child.stdout.pause();
  server.child.stderr.pause();
  await sleep(50);
  server.signal();
  const end = await server.end();
  assert.equal(end.code, 1);
  assertGoneByT(end, TIGHT);
});
