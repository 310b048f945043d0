// Changes one byte in every tenth echo.
import { createServer } from 'node:http';
import { handle } from './handle.mjs';

let echoes = 0;
createServer(async (req, res) => {
  if (req.url !== '/echo') return handle(req, res);
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  echoes += 1;
  if (echoes % 10 === 0) body[body.length - 1] ^= 1;
  res.end(body);
}).listen(process.env.PORT, '127.0.0.1');
