// One contender serving one small answer: server.mjs CONTENDER PROTOCOL. Says its port, and its CPU time whenever asked, over the IPC channel.
import http from 'node:http';
import http2 from 'node:http2';
import { contenders } from './contenders.mjs';

const [name, protocol = 'http'] = process.argv.slice(2);
// What an application holds. Beside an empty heap a garbage collection costs next to nothing, and whoever loads a module at all pays for it.
globalThis.held = Array.from({ length: 200_000 }, (_, n) => ({ n, text: String(n) }));
const server = { http, h2c: http2 }[protocol].createServer((_req, res) => res.end('ok'));
await contenders[name](server);
server.listen(0, '127.0.0.1', () => process.send?.({ port: server.address().port }));
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpu: user + system });
});
