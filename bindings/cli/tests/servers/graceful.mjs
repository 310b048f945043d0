// Fails readiness, goes on serving with `Connection: close`, then closes.
import { createServer } from 'node:http';
import { handle } from './handle.mjs';

let leaving = false;
const server = createServer((req, res) => {
  if (leaving) res.setHeader('Connection', 'close');
  if (leaving && req.url === '/readyz') return res.writeHead(503).end();
  return handle(req, res);
});
server.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => {
  leaving = true;
  setTimeout(() => server.close(() => process.exit(0)), 1500);
});
