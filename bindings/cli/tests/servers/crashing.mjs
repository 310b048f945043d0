// Serves well for a while, then crashes.
import { createServer } from 'node:http';
import { handle } from './handle.mjs';

createServer(handle).listen(process.env.PORT, '127.0.0.1');
setTimeout(() => {
  console.error('out of memory');
  process.exit(3);
}, 1000);
