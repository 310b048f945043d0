// The HTTP/2 server that is restarted. PORT says where; the argument says who stops it: lameduck | plain | close.
import http2 from 'node:http2';
import { sendEvents } from './events.mjs';

const strategy = process.argv[2] ?? 'lameduck';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let ready = true;

const answer = (res, body) => res.writeHead(200, { 'content-length': body.length }).end(body);

const server = http2.createServer(async (req, res) => {
  const [, route, id] = req.url.split('/');
  if (route === 'readyz') {
    res.writeHead(ready ? 200 : 503).end();
  } else if (route === 'events') {
    sendEvents(res);
  } else if (route === 'echo') {
    const body = [];
    for await (const chunk of req) body.push(chunk);
    await sleep(Math.random() * 10);
    answer(res, Buffer.concat(body));
  } else {
    await sleep(route === 'slow' ? 300 : Math.random() * 10);
    answer(res, Buffer.from(`${route} ${id}`));
  }
});
server.listen(Number(process.env.PORT), '127.0.0.1');

if (strategy === 'lameduck') {
  const { lameduck } = await import('../../bindings/node/index.mjs');
  lameduck(server, { grace: '15s', window: '2s', health: { readyPath: '/readyz' } });
} else if (strategy === 'close') {
  const sessions = new Set();
  server.on('session', (session) => sessions.add(session.on('close', () => sessions.delete(session))));
  process.once('SIGTERM', () => {
    ready = false;
    server.close(() => process.exit(0));
    for (const session of sessions) session.close();
  });
}
