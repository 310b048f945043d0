// Ignores SIGTERM and says so.
import { createServer } from 'node:http';
import { handle } from './handle.mjs';

createServer(handle).listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => console.log('not now'));
