// One server: node server.mjs CONTENDER PROTOCOL DEADLINE. Says its port on standard output.
import { WebSocketServer } from 'ws';
import { routes } from '../test/fixtures/routes.mjs';
import { certificate } from '../test/support/certificate.mjs';
import { contenders } from './contenders.mjs';

const [name, protocol, deadline] = process.argv.slice(2);
const table = routes({
  say: (what) => console.log(what),
  block: (ms) => {
    for (const end = performance.now() + ms; performance.now() < end; );
  },
});
const handler = (req, res) => table[new URL(req.url, 'http://test').pathname](req, res);
const tls = protocol === 'http' || protocol === 'h2c' ? undefined : certificate();

const server = await contenders[name].serve({ protocol, handler, tls, deadline: Number(deadline) });
// Only HTTP/1.1 can be upgraded.
if (protocol.startsWith('http')) new WebSocketServer({ server, path: '/socket' }).on('connection', (socket) => socket.send('hello'));
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
