import { start } from '../databases/redis.mjs';
import { suite } from './database-suite.mjs';

suite('redis', start, async ({ require, resources, duck, sleep }, { port }) => {
  const client = require('redis').createClient({ url: `redis://127.0.0.1:${port}` });
  client.on('error', () => {});
  await client.connect();
  duck.use(resources.redis(client));
  const ask = async (ms) => {
    await client.set('said', 'ok');
    await sleep(ms);
    return client.get('said');
  };
  return Object.assign(ask, { close: () => (client.isOpen ? client.close() : undefined) });
});
