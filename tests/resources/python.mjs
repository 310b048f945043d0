// The same servers in Python: uvicorn, and the clients that Python programs use.
import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUDGET, sleep, watch } from '../../bindings/node/test/support/server.mjs';
import { freePort } from '../support/children.mjs';
import { get } from '../support/restarts.mjs';

const python = process.env.LAMEDUCK_PYTHON;
if (!python) throw new Error('LAMEDUCK_PYTHON must be the interpreter of bindings/python/tests/venv.sh, as `make test-resources` sets it');

/** Returns `start(t, given, options)`, which starts `server.py` with these clients: see there for what else may be given. */
export const servers = (clients) => async (t, given, { options = BUDGET } = {}) => {
  const port = await freePort();
  const budget = Object.entries(options).map(([name, ms]) => [`LAMEDUCK_${name.toUpperCase()}`, `${ms / 1000}`]);
  const child = spawn(python, ['-m', 'uvicorn', 'server:app', '--port', `${port}`, '--log-level', 'warning'], {
    cwd: dirname(fileURLToPath(import.meta.url)),
    env: { ...process.env, ...Object.fromEntries(budget), GIVEN: JSON.stringify({ clients, ...given }), PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const server = watch(t, child);
  server.port = port;
  while (!server.over && (await get(port, '/none')) !== 404) await sleep(20);
  const { end } = server;
  // uvicorn leaves by the signal that it was sent, whatever happened meanwhile; what it would have left with is in the report.
  server.end = async () => {
    const ended = await end.call(server);
    return { ...ended, code: ended.signal === 'SIGTERM' ? ended.report?.exit_code : ended.code };
  };
  return server;
};
