// Streams and upgraded sockets: told at once, ended in their own manner, never past the deadline.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect, head } from './support/client.mjs';
import { BUDGET, ROOMY, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

const UPGRADE = { headers: { Connection: 'Upgrade', Upgrade: 'echo' } };

/** Switches to a raw echo. A polite one says bye and ends when it is told of the drain. */
const echo = (polite) => `({ duck, server, say }) => server.on('upgrade', (_req, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
  socket.on('error', () => {});
  socket.pipe(socket);
  if (${polite}) duck.drainSignal.addEventListener('abort', () => socket.end('bye'));
  say('upgraded');
})`;

async function upgraded(port) {
  const conn = await connect(port);
  conn.write(head('/', UPGRADE));
  assert.equal((await conn.response()).status, 101);
  conn.write('ping');
  await conn.until('ping');
  return conn;
}

test('server-sent events that heed drainSignal end cleanly, exit 0', async (t) => {
  const server = await start(t, { options: ROOMY });
  const conn = await connect(server.port);
  const answer = conn.request('/sse-polite');
  await server.event('sse');
  server.signal();
  assert.equal((await answer).text, 'data: hello\n\nretry: 1000\n\n');
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, ROOMY);
});

test('server-sent events that do not heed it are gone by the deadline', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  conn.write(head('/sse'));
  await conn.until('hello');
  server.signal();
  await conn.closed;
  const end = await server.end();
  assertGoneByT(end, BUDGET);
  assertVerdict(end.report, ['ended', 'forced'], 1);
});

test('an upgraded socket that heeds drainSignal says good-bye, exit 0', async (t) => {
  const server = await start(t, { options: ROOMY, setup: echo(true) });
  const conn = await upgraded(server.port);
  server.signal();
  await conn.until('bye');
  conn.socket.end();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, ROOMY);
});

test('an upgraded socket that does not is gone by the deadline; it works until then', async (t) => {
  const server = await start(t, { setup: echo(false) });
  const conn = await upgraded(server.port);
  server.signal();
  await sleep(BUDGET.window + 200);
  conn.write('still there');
  await conn.until('still there');
  await conn.closed;
  const end = await server.end();
  assertGoneByT(end, BUDGET);
});

test('an upgrade in mid-drain is not taken for an idle connection', async (t) => {
  const server = await start(t, { setup: echo(false) });
  const conn = await connect(server.port);
  await conn.request('/slow?ms=1');
  server.signal();
  await server.event('phase');
  conn.write(head('/', UPGRADE));
  assert.equal((await conn.response()).status, 101);
  await sleep(BUDGET.window + BUDGET.quiet + 300);
  conn.write('still there');
  await conn.until('still there');
  assertGoneByT(await server.end(), BUDGET);
});

test('an upgraded socket that the client closes is no reason to wait', async (t) => {
  const server = await start(t, { options: ROOMY, setup: echo(false) });
  const conn = await upgraded(server.port);
  server.signal();
  await sleep(150);
  conn.socket.end();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, ROOMY);
});
