// Ends at once on SIGTERM, with whatever it has in hand.
import { createServer } from 'node:http';
import { handle } from './handle.mjs';

createServer(handle).listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
