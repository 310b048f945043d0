// Streams and upgraded sockets: told at once, ended in their own manner, never past the deadline.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import WebSocket from 'ws';
import { connect, head } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
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
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/sse-polite');
  await server.event('sse');
  server.signal();
  assert.equal((await answer).text, 'data: hello\n\nretry: 1000\n\n');
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

test('server-sent events that do not heed it are ended for them, cleanly, exit 0', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/sse');
  await server.event('sse');
  server.signal();
  assert.match((await answer).text, /^data: hello\n\n:\nretry: \d+\n$/);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assertVerdict(end.report, 'ended', 1);
});

test('an upgraded socket that heeds drainSignal says good-bye, exit 0', async (t) => {
  const server = await start(t, { setup: echo(true) });
  const conn = await upgraded(server.port);
  server.signal();
  await conn.until('bye');
  conn.socket.end();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

test('an upgraded socket that does not heed it works until the second half of the window, then gets a clean end', async (t) => {
  const budget = { ...BUDGET, window: 1000 };
  const server = await start(t, { options: budget, setup: echo(false) });
  const conn = await upgraded(server.port);
  server.signal();
  await sleep(budget.window / 2 - 150);
  conn.write('still there');
  await conn.until('still there');
  assert.equal((await conn.closed).how, 'end');
  assert.ok(server.elapsed > budget.window / 2 - 20);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, budget);
});

test('an upgraded socket whose peer never closes its side does not outlast the deadline', async (t) => {
  const server = await start(t, { options: TIGHT, setup: echo(false) });
  const conn = await upgraded(server.port);
  conn.socket.allowHalfOpen = true;
  server.signal();
  assertGoneByT(await server.end(), TIGHT);
});

test('an upgrade in mid-drain is not taken for an idle connection', async (t) => {
  const budget = { ...BUDGET, window: 1200 };
  const server = await start(t, { options: budget, setup: echo(false) });
  const conn = await connect(server.port);
  server.signal();
  await server.event('phase');
  conn.write(head('/', UPGRADE));
  assert.equal((await conn.response()).status, 101);
  // Longer than the quiet period, in the first half of the window.
  await sleep(budget.quiet + 150);
  conn.write('still there');
  await conn.until('still there');
  assert.equal((await conn.closed).how, 'end');
  assertReport(await server.end(), 0);
});

test('an upgraded socket that the client closes is no reason to wait', async (t) => {
  const server = await start(t, { setup: echo(false) });
  const conn = await upgraded(server.port);
  server.signal();
  await sleep(150);
  conn.socket.end();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

test('a WebSocket (ws) works until the second half of the window, then gets close 1012 and a clean end', async (t) => {
  const budget = { ...BUDGET, window: 1000 };
  const server = await start(t, {
    options: budget,
    setup: ({ server, require }) => {
      const { WebSocketServer } = require('ws');
      new WebSocketServer({ server }).on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
    },
  });
  const client = new WebSocket(`ws://127.0.0.1:${server.port}`);
  const said = [];
  client.on('message', (data) => said.push(String(data)));
  await once(client, 'open');
  server.signal();
  await sleep(budget.window / 2 - 200);
  client.send('still there');
  const [code] = await once(client, 'close');
  assert.deepEqual({ code, said }, { code: 1012, said: ['echo still there'] });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
  assertGoneEarly(end, budget);
});
