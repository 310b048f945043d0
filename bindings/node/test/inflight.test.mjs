// Requests that are under way when the signal comes are answered, whole, and their connection is told to end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertNotProcessed, assertReport, assertVerdict } from './support/report.mjs';

test('a 2 s request in flight completes, with Connection: close', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=2000');
  await server.event('slow');
  server.signal();
  const { status, text, closes } = await answer;
  assert.deepEqual({ status, text, closes }, { status: 200, text: 'slow', closes: true });
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assertVerdict(end.report, 'completed', 1);
});

test('an 800 ms request on a connection that was used before does not wait for the keep-alive timeout', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  await conn.request('/fast');
  const answer = conn.request('/slow?ms=800');
  await server.event('slow');
  server.signal();
  assert.equal((await answer).closes, true);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET, 2500);
});

test('a head half received before the signal is answered when the rest comes', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write('GET /fast HTTP/1.1\r\nHos');
  await sleep(100);
  server.signal();
  await sleep(BUDGET.window + BUDGET.settle + BUDGET.quiet + 200);
  conn.write('t: test\r\n\r\n');
  const { status, closes } = await conn.response();
  assert.deepEqual({ status, closes }, { status: 200, closes: true });
  assertReport(await server.end(), 0);
});

test('a head half received on a used connection is answered when the rest comes', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  await conn.request('/fast');
  conn.write('GET /fast HTTP/1.1\r\nHos');
  await sleep(100);
  server.signal();
  await sleep(BUDGET.window + BUDGET.settle + BUDGET.quiet + 200);
  conn.write('t: test\r\n\r\n');
  assert.equal((await conn.response()).status, 200);
  assertReport(await server.end(), 0);
});

test('a head that trickles in does not extend the deadline', async (t) => {
  const server = await start(t, { options: TIGHT });
  const conn = await connect(server.port);
  conn.write('GET /fast HTTP/1.1\r\nX: ');
  const trickle = setInterval(() => conn.write('x'), 50);
  t.after(() => clearInterval(trickle));
  await sleep(100);
  server.signal();
  assertGoneByT(await server.end(), TIGHT);
});

test('an upload in progress completes', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const body = Buffer.alloc(1_000_000, 'y');
  conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': body.length } }));
  conn.write(body.subarray(0, 300_000));
  await server.event('upload');
  server.signal();
  await sleep(900);
  conn.write(body.subarray(300_000));
  const { status, text, closes } = await conn.response();
  assert.equal(status, 200);
  assert.equal(JSON.parse(text).length, body.length);
  assert.equal(closes, true);
  assertReport(await server.end(), 0);
});

test('an upload that answers before it was read whole does not eat the answer', async (t) => {
  const server = await start(t, {
    setup: ({ route, say }) => route('/early', (_req, res) => {
      say('early');
      setTimeout(() => res.end('early answer'), 600);
    }),
  });
  const conn = await connect(server.port);
  conn.write(head('/early', { method: 'POST', headers: { 'Content-Length': 4_000_000 } }));
  const piece = Buffer.alloc(50_000, 'z');
  const pump = setInterval(() => conn.socket.writable && conn.write(piece), 20);
  t.after(() => clearInterval(pump));
  await server.event('early');
  server.signal();
  const { status, text } = await conn.response();
  assert.deepEqual({ status, text }, { status: 200, text: 'early answer' });
  const end = await server.end();
  assertGoneByT(end, BUDGET);
});

test('100-continue: the body sent after the signal is taken and answered', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': 5, Expect: '100-continue' } }));
  assert.equal((await conn.response()).status, 100);
  server.signal();
  await sleep(BUDGET.window + BUDGET.settle + BUDGET.quiet + 150);
  conn.write('hello');
  const { status, text } = await conn.response();
  assert.equal(status, 200);
  assert.equal(JSON.parse(text).length, 5);
  assertReport(await server.end(), 0);
});

test('a checkContinue listener, which hides the request event, still counts', async (t) => {
  const server = await start(t, {
    setup: ({ server, say }) => server.on('checkContinue', (req, res) => {
      say('check');
      setTimeout(() => {
        res.writeContinue();
        req.resume().on('end', () => res.end('checked'));
      }, 700);
    }),
  });
  const conn = await connect(server.port);
  conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': 5, Expect: '100-continue' } }));
  await server.event('check');
  server.signal();
  assert.equal((await conn.response()).status, 100);
  conn.write('hello');
  assert.equal((await conn.response()).text, 'checked');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('a client that goes away in mid-request is client_gone, and nothing is lost', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/slow?ms=5000'));
  await server.event('slow');
  server.signal();
  await sleep(100);
  conn.destroy();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assertVerdict(end.report, 'client_gone', 1);
});

test('request listeners replaced after attaching (as engine.io does) still count', async (t) => {
  const server = await start(t, {
    setup: ({ server, say }) => {
      server.removeAllListeners('request');
      server.on('request', (_req, res) => {
        say('replaced');
        setTimeout(() => res.end('replaced'), 700);
      });
    },
  });
  const conn = await connect(server.port);
  const answer = conn.request('/');
  await server.event('replaced');
  server.signal();
  const { text, closes } = await answer;
  assert.deepEqual({ text, closes }, { text: 'replaced', closes: true });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('an Express 5 application', async (t) => {
  const server = await start(t, { express: true });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=700');
  await server.event('slow');
  server.signal();
  const { status, text, closes } = await answer;
  assert.deepEqual({ status, text, closes }, { status: 200, text: 'slow', closes: true });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('HTTP/1.0 in flight: answered and closed', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write('GET /slow?ms=700 HTTP/1.0\r\n\r\n');
  await server.event('slow');
  server.signal();
  assert.equal((await conn.response()).text, 'slow');
  assertReport(await server.end(), 0);
});

test('what arrives after the response that announced the close is not processed', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/slow?ms=400'));
  await server.event('slow');
  server.signal();
  // In the second half of the window every response announces.
  assert.equal((await conn.response()).closes, true);
  conn.write(head('/upload', { method: 'POST', body: 'too late' }) + 'too late');
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(!server.saw('upload'), 'the handler ran');
  assertVerdict(end.report, 'completed', 1);
  assertNotProcessed(end.report, 1);
});
