// The two services: what each needs, how it is started, and where its jobs are.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as rabbitmq from '../databases/rabbitmq.mjs';
import { output } from '../support/children.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

/**
 * By name: `(who, { db, cache, folder })` resolves with `command(port)`, what to run, its arguments and options; `waiting()` and `failed()`, the
 * numbers of such jobs; `connections()`, those that are open to anything else than `db` and `cache`; and `fault(pid, end)`, what is wrong with
 * how a process left, or null.
 */
export const services = {
  async node(who, { db, cache }) {
    const count = async (kind, state) => Number(await cache.command(kind, `bull:orders:${state}`));
    const sum = async (...counts) => (await Promise.all(counts)).reduce((total, n) => total + n);
    return {
      command: (port) => [process.execPath, [join(here, 'server.mjs'), who], {
        env: { ...process.env, PORT: `${port}`, POSTGRES: `${db.port}`, REDIS: `${cache.port}`, NODE_ENV: 'production' },
      }],
      waiting: () => sum(count('LLEN', 'wait'), count('LLEN', 'active'), count('ZCARD', 'delayed')),
      failed: () => count('ZCARD', 'failed'),
      connections: async () => 0,
      fault: (_pid, { code, signal }) => (code === 0 ? null : `left with ${code ?? signal}`),
    };
  },

  async python(who, { db, cache, folder }) {
    const broker = await rabbitmq.start();
    const programs = join((await output(join(here, '../../bindings/python/tests/venv.sh'), [])).trim(), 'bin');
    const reports = join(folder, 'report-{pid}.json');
    const undone = 'SELECT count(*)::int AS n FROM orders LEFT JOIN shipments USING (key) WHERE coalesce(done, 0) = 0';
    return {
      command: (port) => [join(programs, 'uvicorn'), ['server:app', '--port', `${port}`, '--timeout-keep-alive', '75', '--log-level', 'warning'], {
        cwd: here,
        env: {
          ...process.env, WHO: who, POSTGRES: `${db.port}`, REDIS: `${cache.port}`, RABBITMQ: `${broker.port}`, LAMEDUCK_REPORT_FILE: reports,
          PYTHONDONTWRITEBYTECODE: '1',
        },
      }],
      waiting: async () => (await db.query(undone))[0].n,
      failed: async () => 0,
      connections: () => broker.connections(),
      // uvicorn leaves by the signal that it was sent, whatever happened meanwhile.
      fault(pid, { code, signal }) {
        if (signal !== 'SIGTERM') return `left with ${code ?? signal}`;
        if (who === 'plain') return null;
        const file = reports.replace('{pid}', pid);
        if (!existsSync(file)) return 'left no report';
        const { lost } = JSON.parse(readFileSync(file, 'utf8'));
        return lost.length === 0 ? null : `lost something: ${lost.join('; ')}`;
      },
    };
  },
};
