// The same promises under TLS, where a connection exists before anything can be said on it.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

const secure = true;

test('in flight over https: completes with Connection: close', async (t) => {
  const server = await start(t, { secure });
  const conn = await connect(server.port, { secure });
  const answer = conn.request('/slow?ms=900');
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

test('idle https keep-alive is closed cleanly, after the quiet period', async (t) => {
  const server = await start(t, { secure });
  const conn = await connect(server.port, { secure });
  await conn.request('/fast');
  server.signal();
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

test('three pipelined requests over https', async (t) => {
  const server = await start(t, { secure });
  const conn = await connect(server.port, { secure });
  conn.write(head('/slow?ms=700') + head('/slow?ms=500') + head('/slow?ms=600'));
  await server.event('slow');
  await sleep(50);
  server.signal();
  const answers = [await conn.response(), await conn.response(), await conn.response()];
  assert.deepEqual(answers.map(({ status, closes }) => [status, closes]), [[200, false], [200, false], [200, true]]);
  assertReport(await server.end(), 0);
});

for (const [name, bytes] of [
  ['that never sends a byte', ''],
  ['that stalls inside the handshake', Buffer.from('16030100c8010000', 'hex')],
]) {
  test(`a TLS client ${name} does not outlast the deadline, exit 0`, async (t) => {
    const server = await start(t, { options: TIGHT, secure });
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    t.after(() => socket.destroy());
    if (bytes.length > 0) socket.write(bytes);
    await sleep(100);
    server.signal();
    const end = await server.end();
    assertReport(end, 0);
    assertGoneByT(end, TIGHT);
  });
}

test('a stuck handler over https gets its 503', async (t) => {
  const server = await start(t, { options: TIGHT, secure });
  const conn = await connect(server.port, { secure });
  const answer = conn.request('/stuck');
  await server.event('stuck');
  server.signal();
  assert.equal((await answer).status, 503);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
});
