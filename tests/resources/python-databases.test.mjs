// The pools and clients of Python, all in one server: requests use them by turns.
import { start as startPostgres } from '../databases/postgres.mjs';
import { start as startRedis } from '../databases/redis.mjs';
import { serverSuite } from './database-suite.mjs';
import { servers } from './python.mjs';

const pools = ['asyncpg.Pool', 'psycopg_pool.AsyncConnectionPool', 'psycopg_pool.ConnectionPool', 'sqlalchemy.AsyncEngine', 'sqlalchemy.Engine'];
const closed = [...pools, 'unused', 'redis.Redis', 'redis.Redis, sync', 'lifespan'];

async function start() {
  const [postgres, redis] = await Promise.all([startPostgres(import.meta.url), startRedis()]);
  const both = [postgres, redis];
  return {
    port: { postgres: postgres.port, redis: redis.port },
    connections: async () => (await Promise.all(both.map((one) => one.connections()))).reduce((sum, n) => sum + n),
    kill: () => Promise.all(both.map((one) => one.kill())),
    freeze: () => both.forEach((one) => one.freeze()),
    thaw: () => both.forEach((one) => one.thaw()),
  };
}

serverSuite('Python', start, servers('databases'), { closed, hanging: ['asyncpg.Pool'] });
