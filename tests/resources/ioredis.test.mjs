import { start } from '../databases/redis.mjs';
import { suite } from './database-suite.mjs';

suite('ioredis', start, ({ require, resources, duck, sleep }, { port }) => {
  const { Redis } = require('ioredis');
  const client = new Redis({ port });
  client.on('error', () => {});
  duck.use(resources.ioredis(client));
  const ask = async (ms) => {
    // Redis is quick: the request asks at its beginning and at its end.
    await client.set('said', 'ok');
    await sleep(ms);
    return client.get('said');
  };
  return Object.assign(ask, { close: () => client.quit().catch(() => {}) });
});
