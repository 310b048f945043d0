// One Node server with the routes of a drill: node server.mjs CONTENDER [WAIT_MS]. With a wait it is the usual recipe: at SIGTERM
// readiness fails, the server waits so long, and only then does what its library does.
import { setTimeout as sleep } from 'node:timers/promises';
import { contenders } from '../../bindings/node/matrix/contenders.mjs';

const [name, wait] = process.argv.slice(2);
const DEADLINE = 4_000;
let ready = true;
const large = Buffer.alloc(8 * 1024 * 1024, 'x');

async function handler(req, res) {
  switch (req.url) {
    case '/':
      await sleep(Math.random() * 10);
      return res.end('fine');
    case '/echo': {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      return res.end(Buffer.concat(chunks));
    }
    case '/slow':
      await sleep(300);
      return res.end('slow');
    case '/large':
      return res.end(large);
    case '/readyz':
      return res.writeHead(ready ? 200 : 503).end();
    default:
      return res.writeHead(404).end();
  }
}

if (wait) {
  // Whoever asks to hear of SIGTERM hears of it later.
  const waiting = [];
  for (const method of ['on', 'once', 'addListener']) {
    const add = process[method].bind(process);
    process[method] = (event, listener) => {
      if (event !== 'SIGTERM') return add(event, listener);
      waiting.push(listener);
      return process;
    };
  }
  process.prependListener('SIGTERM', async () => {
    ready = false;
    await sleep(Number(wait));
    for (const listener of waiting.splice(0)) listener.call(process, 'SIGTERM', 15);
  });
}

const server = name === 'lameduck' ? await withLameduck() : await contenders[name].serve({ protocol: 'http', handler, deadline: DEADLINE });
// Longer than a balancer keeps its idle connections: the ordinary advice for a server behind one.
server.keepAliveTimeout = 75_000;
server.listen(process.env.PORT, '127.0.0.1');

async function withLameduck() {
  const { createServer } = await import('node:http');
  const { lameduck } = await import('../../bindings/node/index.mjs');
  const server = createServer(handler);
  lameduck(server, { grace: '6s', window: '2s', health: { readyPath: '/readyz' } });
  return server;
}
