import { start } from '../databases/postgres.mjs';
import { suite } from './database-suite.mjs';

suite('pg', () => start(import.meta.url), ({ require, resources, duck }, { port }) => {
  const { Pool } = require('pg');
  const pool = new Pool({ host: '127.0.0.1', port, user: 'test', database: 'postgres', max: 4 });
  pool.on('error', () => {});
  duck.use(resources.pg(pool));
  const ask = async (ms) => (await pool.query('SELECT pg_sleep($1), $2 AS said', [ms / 1000, 'ok'])).rows[0].said;
  return Object.assign(ask, { close: () => (pool.ending ? undefined : pool.end()) });
});
