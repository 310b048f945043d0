// Has neither a readiness route nor a slow one.
import { createServer } from 'node:http';
import { handle } from './handle.mjs';

const server = createServer((req, res) => {
  if (req.url === '/readyz' || req.url === '/slow') return res.writeHead(404).end();
  return handle(req, res);
});
server.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
