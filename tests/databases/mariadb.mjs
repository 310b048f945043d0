// MariaDB.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { freePort, output, run, temporaryFolder, until } from '../support/children.mjs';
import { server } from './server.mjs';

/** Everybody may connect as `root` to the database `mysql`. `from` is the module whose package mysql2 is used. */
export async function start(from) {
  const mysql = createRequire(from)('mysql2/promise');
  const folder = temporaryFolder('mariadb');
  const port = await freePort();
  const data = join(folder, 'data');
  const user = process.getuid() === 0 ? ['--user=root'] : [];
  await output('mariadb-install-db', ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db', ...user]);
  const where = [`--datadir=${data}`, `--port=${port}`, '--bind-address=127.0.0.1', `--socket=${join(folder, 'socket')}`];
  const quick = ['--innodb-flush-log-at-trx-commit=0', '--innodb-buffer-pool-size=16M', '--skip-name-resolve'];
  const child = run('/usr/sbin/mariadbd', ['--no-defaults', ...where, ...quick, ...user]);
  const query = async (text) => {
    const connection = await mysql.createConnection({ host: '127.0.0.1', port, user: 'root' });
    try {
      return (await connection.query(text))[0];
    } finally {
      await connection.end();
    }
  };
  await until(child, () => query('SELECT 1').then(() => true, () => false));
  const others = "SELECT count(*) AS count FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'";
  return { ...server(child, port, async () => Number((await query(others))[0].count)), query };
}
