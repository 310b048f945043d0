// One contender serving one small answer. Says its port, and its CPU time whenever asked, over the IPC channel.
import http from 'node:http';
import { contenders } from './contenders.mjs';

const server = http.createServer((_req, res) => res.end('ok'));
await contenders[process.argv[2]](server);
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpu: user + system });
});
