// PostgreSQL, which refuses to run as root: then as the user that its package made.
import { chownSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { freePort, output, run, temporaryFolder, until } from '../support/children.mjs';
import { owner } from './owner.mjs';
import { server } from './server.mjs';

/** The newest that is installed. */
function program(name) {
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => b - a);
  return join('/usr/lib/postgresql', versions[0], 'bin', name);
}

/** Everybody may connect as `test` to the database `postgres`. `from` is the module whose package pg is used. */
export async function start(from) {
  const { Client } = createRequire(from)('pg');
  const folder = temporaryFolder('postgres');
  const as = owner('postgres');
  if (as.uid !== undefined) chownSync(folder, as.uid, as.gid);
  const port = await freePort();
  const data = join(folder, 'data');
  await output(program('initdb'), ['-D', data, '-U', 'test', '-A', 'trust', '-E', 'UTF8', '--no-sync'], { ...as, cwd: folder });
  const args = ['-D', data, '-h', '127.0.0.1', '-p', port, '-k', folder, '-F', '-c', 'full_page_writes=off', '-c', 'max_connections=200'];
  const child = run(program('postgres'), args.map(String), { ...as, cwd: folder });
  const query = async (text) => {
    const client = new Client({ host: '127.0.0.1', port, user: 'test', database: 'postgres' });
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  };
  await until(child, () => query('SELECT 1').then(() => true, () => false));
  const others = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`;
  return { ...server(child, port, async () => (await query(others))[0].count), query };
}
