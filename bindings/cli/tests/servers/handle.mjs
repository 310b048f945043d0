// The routes a drill expects: GET /, POST /echo, GET /readyz, GET /slow.
import { setTimeout as sleep } from 'node:timers/promises';

export async function handle(req, res) {
  switch (req.url) {
    case '/echo': {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      return res.end(Buffer.concat(chunks));
    }
    case '/slow':
      await sleep(100);
      return res.end('slow');
    case '/':
    case '/readyz':
      return res.end('fine');
    default:
      return res.writeHead(404).end();
  }
}
