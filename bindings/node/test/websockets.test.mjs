// WebSockets: closed in the second half of the window, with a close frame that never cuts into another frame.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { connect, head } from './support/client.mjs';
import { startExample } from './support/example.mjs';
import { BUDGET, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

const WINDOW = { ...BUDGET, window: 1000 };
const HANDSHAKE = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' };

/** Opens a WebSocket; `seen` has the length of each message and every error. */
async function open(t, port, { secure = false, path = '/', ...options } = {}) {
  const client = new WebSocket(`${secure ? 'wss' : 'ws'}://127.0.0.1:${port}${path}`, { rejectUnauthorized: false, ...options });
  const seen = { lengths: [], errors: [] };
  client.on('message', (data) => seen.lengths.push(data.length));
  client.on('error', (error) => seen.errors.push(error.message));
  t.after(() => client.terminate());
  const closed = once(client, 'close').then(([code]) => code);
  await once(client, 'open');
  return { client, path, seen, closed };
}

/** Always has a message under compression, until its socket closes; then it says how many it sent. */
const chatter = ({ server, require, say }) => {
  const { WebSocketServer } = require('ws');
  const text = require('node:crypto').randomBytes(200_000).toString('base64');
  const perMessageDeflate = { threshold: 0, concurrencyLimit: 1 };
  new WebSocketServer({ server, perMessageDeflate }).on('connection', (socket, request) => {
    let sent = 0;
    const more = () => {
      if (socket.readyState !== socket.OPEN) return;
      sent += 1;
      socket.send(text, () => setTimeout(more, 2));
    };
    more();
    socket.on('close', () => say('sent', { sent, by: request.url }));
  });
};

for (const secure of [false, true]) {
  test(`compressed messages sent before the close arrive before it (ws${secure ? ', TLS' : ''})`, async (t) => {
    const server = await start(t, { options: WINDOW, secure, setup: chatter });
    const clients = await Promise.all(['/a', '/b', '/c'].map((path) => open(t, server.port, { secure, path })));
    await sleep(100);
    server.signal();
    for (const { path, seen, closed } of clients) {
      assert.equal(await closed, 1012);
      const { sent } = await server.event('sent', ({ by }) => by === path);
      assert.deepEqual({ got: seen.lengths.length, errors: seen.errors }, { got: sent, errors: [] });
      assert.ok(sent > 3, `${sent}`);
    }
    assertReport(await server.end(), 0);
  });
}

test('a slow client gets the messages before the close whole (ws)', async (t) => {
  const server = await start(t, {
    options: WINDOW,
    setup: ({ server, require, duck }) => {
      const { WebSocketServer } = require('ws');
      new WebSocketServer({ server }).on('connection', (socket) => {
        duck.drainSignal.addEventListener('abort', () => {
          for (let n = 0; n < 4; n++) socket.send(Buffer.alloc(8_000_000, 'x'));
        });
      });
    },
  });
  const { client, seen, closed } = await open(t, server.port);
  server.signal();
  await server.event('phase');
  client.pause();
  await sleep(1200);
  client.resume();
  assert.equal(await closed, 1012);
  assert.deepEqual(seen, { lengths: Array(4).fill(8_000_000), errors: [] });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
});

test('the close frame does not cut into frames that a proxy passes on in pieces (http-proxy)', async (t) => {
  const server = await start(t, {
    options: WINDOW,
    setup: async ({ server, require, http, say }) => {
      const { WebSocketServer } = require('ws');
      const { createProxyServer } = require('http-proxy');
      const upstream = http.createServer();
      new WebSocketServer({ server: upstream }).on('connection', (socket) => {
        socket.on('error', () => {});
        // Always in the middle of a frame.
        const more = () => socket.readyState === socket.OPEN && socket.send(Buffer.alloc(3_000_000, 'y'), more);
        more();
      });
      await new Promise((resolve) => upstream.listen(0, '127.0.0.1', resolve));
      upstream.unref();
      const proxy = createProxyServer({ target: `http://127.0.0.1:${upstream.address().port}` });
      proxy.on('error', () => {});
      server.on('upgrade', (req, socket, first) => {
        proxy.ws(req, socket, first);
        say('proxied');
      });
    },
  });
  const { client, seen, closed } = await open(t, server.port, { maxPayload: 10_000_000 });
  await server.event('proxied');
  const slow = setInterval(() => {
    client.pause();
    setTimeout(() => client.resume(), 15);
  }, 30);
  t.after(() => clearInterval(slow));
  server.signal();
  assert.equal(await closed, 1012);
  assert.deepEqual(seen.errors, []);
  assert.ok(seen.lengths.length > 0 && seen.lengths.every((length) => length === 3_000_000), `${seen.lengths}`);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
});

test('a frame written byte by byte is finished first, whatever its length is coded in, and nothing follows the close', async (t) => {
  const server = await start(t, {
    options: { ...BUDGET, window: 300 },
    setup: ({ server, say }) => server.on('upgrade', (_req, socket) => {
      socket.on('error', () => {});
      const answer = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
        + 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';
      const text = (payload) => Buffer.concat([Buffer.from([0x81, payload.length]), Buffer.from(payload)]);
      const medium = Buffer.concat([Buffer.from([0x01, 126, 0, 200]), Buffer.alloc(200, 'm')]);
      const long = Buffer.concat([Buffer.from([0x80, 127, 0, 0, 0, 0, 0, 0, 0, 200]), Buffer.alloc(200, 'l')]);
      const bytes = Buffer.concat([Buffer.from(answer), text('short'), medium, long]);
      let at = 0;
      const more = () => {
        socket.write(bytes.subarray(at, ++at));
        if (at === bytes.length) return socket.write(text('too late'), () => say('all'));
        // The last frame of a message in two is still under way when the window has ended.
        setTimeout(more, at < bytes.length - 80 ? 0 : 5);
      };
      more();
    }),
  });
  const conn = await connect(server.port);
  conn.write(head('/', { headers: HANDSHAKE }));
  assert.equal((await conn.response()).status, 101);
  server.signal();
  await server.event('all');
  conn.socket.end();
  await conn.closed;
  const got = Buffer.from(await conn.until(''), 'utf8');
  const frames = Buffer.concat([
    Buffer.from([0x81, 5]), Buffer.from('short'), Buffer.from([0x01, 126, 0, 200]), Buffer.alloc(200, 'm'),
    Buffer.from([0x80, 127, 0, 0, 0, 0, 0, 0, 0, 200]), Buffer.alloc(200, 'l'), Buffer.from([0x88, 2, 0x03, 0xf4]),
  ]);
  assert.equal(got.toString('hex'), Buffer.from(frames.toString('utf8'), 'utf8').toString('hex'));
  assertReport(await server.end(), 0);
});

test('a peer that never answers the close is cut after its allowance, and is no loss', async (t) => {
  const server = await start(t, {
    options: BUDGET,
    setup: ({ server, require }) => void new (require('ws').WebSocketServer)({ server }),
  });
  const conn = await connect(server.port);
  conn.write(head('/', { headers: HANDSHAKE }));
  assert.equal((await conn.response()).status, 101);
  conn.socket.allowHalfOpen = true;
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
  assertGoneEarly(end, BUDGET, BUDGET.window + 2000 + 800);
});

test('webSocketCode says 1001 instead, and is checked', async (t) => {
  const server = await start(t, {
    options: { ...BUDGET, webSocketCode: 1001 },
    setup: ({ server, require }) => void new (require('ws').WebSocketServer)({ server }),
  });
  const { closed } = await open(t, server.port);
  server.signal();
  assert.equal(await closed, 1001);
  assertReport(await server.end(), 0);
  const other = await start(t, { listen: false });
  const attach = (code) => other.run(({ lameduck, http }, webSocketCode) => void lameduck(http.createServer(), { webSocketCode }), code);
  await assert.rejects(attach(1006), /RangeError|webSocketCode is 1006; a server that leaves says/);
  await assert.rejects(attach('1001'), /webSocketCode is a number such as 1012/);
});

test('an upgrade that the application refuses is left to its answer', async (t) => {
  const server = await start(t, {
    options: BUDGET,
    setup: ({ server, say }) => server.on('upgrade', (_req, socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\n');
      say('refused');
      setTimeout(() => socket.end('gone'), 200);
    }),
  });
  const conn = await connect(server.port);
  const answer = conn.request('/', { headers: HANDSHAKE });
  await server.event('refused');
  server.signal();
  assert.deepEqual(await answer.then(({ status, text }) => ({ status, text })), { status: 401, text: 'gone' });
  assertReport(await server.end(), 0);
});

test('a tunnel (CONNECT) works until shortly before the deadline and is half-closed', async (t) => {
  const budget = { ...BUDGET, grace: 3000, abortLead: 500, reserve: 500 };
  const server = await start(t, {
    options: budget,
    setup: ({ server, say }) => server.on('connect', (_req, socket) => {
      socket.on('error', () => {});
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      socket.pipe(socket);
      say('tunnel');
    }),
  });
  const conn = await connect(server.port);
  conn.write('CONNECT example:443 HTTP/1.1\r\nHost: example:443\r\n\r\n');
  await conn.until('Established\r\n\r\n');
  server.signal();
  // Long after the window.
  await sleep(700);
  conn.write('still there');
  await conn.until('still there');
  assert.equal((await conn.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
});

test('Socket.IO (examples/socket.io): clients of both transports come back by themselves, and no request is lost', async (t) => {
  // It takes away the listeners that the server had, and calls them itself.
  const server = await startExample(t, 'socket.io/server.mjs');
  const clients = ['websocket', 'polling'].map((transport) => io(`http://127.0.0.1:${server.port}`, { transports: [transport], reconnection: false }));
  t.after(() => clients.forEach((client) => client.close()));
  await Promise.all(clients.map((client) => once(client, 'connect')));
  const slow = (await connect(server.port)).request('/slow');
  await sleep(50);
  server.signal();
  const ending = Promise.all(clients.map((client) => once(client, 'disconnect').then(([reason]) => reason)));
  await server.says(/window begins/);
  // Who is closed first, at some moment of the window, may have been closed already.
  const heard = await Promise.all(clients.map((client) => client.emitWithAck('say', 'hi').catch(() => client.connected)));
  assert.ok(heard.every((answer) => answer === 'heard hi' || answer === false), String(heard));
  const ends = await ending;
  // Not 'io server disconnect', after which a client stays away.
  assert.deepEqual(ends, ['transport close', 'transport close']);
  assert.equal((await slow).text, 'hello\n');
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(end.after < 2500, `took ${end.after} ms`);
});

test('Socket.IO attached after lameduck hides no request from it', async (t) => {
  const server = await start(t, { options: BUDGET, setup: ({ server, require }) => void new (require('socket.io').Server)(server) });
  const slow = (await connect(server.port)).request('/slow?ms=800');
  await server.event('slow');
  server.signal();
  assert.equal((await slow).text, 'slow');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});
