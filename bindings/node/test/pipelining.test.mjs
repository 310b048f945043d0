// Pipelined requests are all answered, and only the last answer says close.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

test('three pipelined requests: all answered in order, only the last says close', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/slow?ms=900') + head('/slow?ms=400') + head('/slow?ms=650'));
  await server.event('slow');
  await sleep(50);
  server.signal();
  const answers = [await conn.response(), await conn.response(), await conn.response()];
  assert.deepEqual(answers.map((answer) => answer.text), ['slow', 'slow', 'slow']);
  assert.deepEqual(answers.map((answer) => answer.closes), [false, false, true]);
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 3);
});

test('a request pipelined behind one in flight after the signal is answered too', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/slow?ms=900'));
  await server.event('slow');
  server.signal();
  // Its headers are made when it is parsed; from the second half of the window on they announce.
  await sleep(BUDGET.window / 2 + 100);
  conn.write(head('/fast'));
  const answers = [await conn.response(), await conn.response()];
  assert.deepEqual(answers.map((answer) => answer.text), ['slow', 'fast']);
  assert.deepEqual(answers.map((answer) => answer.closes), [false, true]);
  assertReport(await server.end(), 0);
});

test('a client that goes away with three pipelined requests leaves none of them counted', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/slow?ms=9000') + head('/slow?ms=9000') + head('/slow?ms=9000'));
  await server.event('slow');
  await sleep(50);
  server.signal();
  await sleep(100);
  conn.destroy();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assertVerdict(end.report, 'client_gone', 3);
});
