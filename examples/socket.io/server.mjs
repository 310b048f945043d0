// A Socket.IO server. Do not call io.close(): it closes the HTTP server under everybody else's requests.
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { lameduck } from 'lameduck';
import { Server } from 'socket.io';

const server = createServer(async (request, response) => {
  if (request.url === '/slow') await sleep(500);
  response.end('hello\n');
});
const io = new Server(server);
io.on('connection', (socket) => {
  socket.on('say', (text, answer) => answer(`heard ${text}`));
});

const duck = lameduck(server, {
  health: { livePath: '/livez', readyPath: '/readyz' },
  window: '2s', // longer than the balancer takes to notice that readiness fails
});

// WebSockets end by themselves. Clients that poll are told to come back, each at its moment; not with
// disconnect(), after which they would stay away.
io.engine.use((request, _response, next) => {
  const { transport, sid } = request._query;
  if (transport === 'polling' && request.method === 'GET' && sid) {
    duck.longPoll(request).addEventListener('abort', () => io.engine.clients[sid]?.close(), { once: true });
  }
  next();
});

server.listen(Number(process.env.PORT ?? 3000));
