// Listens, but its readiness check never turns green.
import { createServer } from 'node:http';

console.log('waiting for the database');
createServer((req, res) => res.writeHead(503).end()).listen(process.env.PORT, '127.0.0.1');
