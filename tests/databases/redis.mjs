// Redis, asked by its own command line.
import { freePort, output, run, temporaryFolder, until } from '../support/children.mjs';
import { server } from './server.mjs';

export async function start() {
  const folder = temporaryFolder('redis');
  const port = await freePort();
  const child = run('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--maxmemory-policy', 'noeviction']);
  const command = (...words) => output('redis-cli', ['-p', `${port}`, ...words]);
  await until(child, () => command('PING').then((said) => said.trim() === 'PONG', () => false));
  const others = async () => (await command('CLIENT', 'LIST')).split('\n').filter((line) => line && !line.includes('cmd=client|list')).length;
  return { ...server(child, port, others), command };
}
