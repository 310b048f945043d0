// A server that stops as it should, or with one mistake: node server.mjs [MISTAKE]. Without one it is the fixed twin of them all.
// PROTOCOL=https, h2c or h2 (which has HTTP/1.1 beside it) instead of HTTP/1.1; the latter two and https with KEY and CERT, two files.
// Its window is 600 ms: after that the listener closes, and what is in flight finishes.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createHttp2Server, createSecureServer } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

// Longer with TLS: a newcomer's handshakes take a busy machine a while.
const WINDOW = ['https', 'h2'].includes(process.env.PROTOCOL) ? 1200 : 600;
const mistake = process.argv[2] ?? 'none';
const has = (name) => mistake === name;

let leaving = false;
let poolClosed = false;
const requests = new Set();
const sockets = new Set();
const websockets = new Set();
const events = new Set();

const routes = {
  '/': (res) => res.end('fine'),
  '/readyz': (res) => res.writeHead(leaving && !has('readiness-stays-green') ? 503 : 200).end(),
  '/slow': async (res) => {
    await sleep(has('exit-code-lies-after-a-loss') ? 5000 : 200);
    res.end('slow');
  },
  '/large': (res) => res.end(Buffer.alloc(8 * 1024 * 1024, 'x')),
  '/events': (res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: hello\n\n');
    events.add(res);
  },
};

async function handle(req, res) {
  requests.add(res);
  res.on('close', () => requests.delete(res));
  if (leaving && req.httpVersionMajor === 1 && !has('no-connection-close')) res.setHeader('Connection', 'close');
  if (req.url === '/echo') {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    return res.end(Buffer.concat(chunks));
  }
  if (poolClosed && req.url === '/') return res.writeHead(500).end('the pool is closed');
  if (leaving && has('refuses-requests') && req.url === '/') return res.writeHead(503).end();
  const route = routes[req.url];
  return route ? route(res) : res.writeHead(404).end();
}

const { PROTOCOL = 'http', KEY, CERT } = process.env;
const tls = () => ({ key: readFileSync(KEY), cert: readFileSync(CERT), allowHTTP1: true, keepAliveTimeout: 60_000 });
const server = {
  http: () => createServer({ keepAliveTimeout: 60_000 }, handle),
  https: () => createHttpsServer(tls(), handle),
  h2c: () => createHttp2Server(handle),
  h2: () => createSecureServer(tls(), handle),
}[PROTOCOL]();
// close() of Node's own also cuts responses that have ended but are not flushed.
if (!has('response-cut')) server.closeIdleConnections = () => {};
server.on(PROTOCOL === 'https' || PROTOCOL === 'h2' ? 'secureConnection' : 'connection', (socket) => {
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket)).on('error', () => {});
});
let handshakes = 0;
if (PROTOCOL === 'https' || PROTOCOL === 'h2') {
  server.on('connection', () => (handshakes += 1));
  for (const end of ['secureConnection', 'tlsClientError']) server.on(end, () => (handshakes -= 1));
}
const sessions = new Set();
server.on('session', (session) => sessions.add(session.on('close', () => sessions.delete(session)).on('error', () => {})));

server.on('upgrade', (req, socket) => {
  const key = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`);
  websockets.add(socket);
  socket.on('close', () => websockets.delete(socket)).on('data', () => {});
});

/** Whether a response is under way: ended is not yet flushed. */
function isBusy(socket) {
  return socket.writableLength > 0 || [...requests].some((res) => res.socket === socket);
}

function closeIdle() {
  for (const socket of sockets) if (socket.bytesRead && !isBusy(socket) && !websockets.has(socket)) socket.destroy();
}

async function stop() {
  const begun = Date.now();
  leaving = true;
  if (has('exits-at-once')) process.exit(0);
  if (has('never-exits')) setInterval(() => {}, 1000);
  if (has('listener-closes-early')) server.close();
  if (has('idle-keep-alive-reset')) closeIdle();
  await sleep(WINDOW / 4);
  if (has('pool-closed-early')) poolClosed = true;
  await sleep((WINDOW * 3) / 4);
  server.close();
  for (const socket of websockets) {
    if (has('websocket-cut')) socket.destroy();
    // A close frame: 1001, going away.
    else socket.end(Buffer.from([0x88, 2, 0x03, 0xe9]));
  }
  for (const res of events) if (has('event-stream-cut')) res.destroy(); else res.end();
  for (const session of sessions) if (!has('no-goaway')) session.close();
  while ([...sockets].some(isBusy) || requests.size || handshakes || websockets.size || (sessions.size && !has('no-goaway'))) {
    if (has('exit-code-lies-after-a-loss') && Date.now() - begun > 1800) break;
    await sleep(10);
  }
  closeIdle();
  if (has('exits-late')) await sleep(3000);
  if (has('never-exits')) return;
  process.exit(has('exit-code-lies') ? 1 : 0);
}

if (!has('no-handler')) process.once('SIGTERM', stop);
server.listen(process.env.PORT, '127.0.0.1');
