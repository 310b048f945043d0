import { start } from '../databases/mariadb.mjs';
import { suite } from './database-suite.mjs';

suite('mysql2', () => start(import.meta.url), ({ require, resources, duck }, { port }) => {
  const pool = require('mysql2/promise').createPool({ host: '127.0.0.1', port, user: 'root', connectionLimit: 4 });
  duck.use(resources.mysql2(pool));
  const ask = async (ms) => (await pool.query('SELECT sleep(?), ? AS said', [ms / 1000, 'ok']))[0][0].said;
  return Object.assign(ask, { close: () => (pool.pool._closed ? undefined : pool.end()) });
});
