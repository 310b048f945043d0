// Python's servers around server_python.py, from the environment of the Python tests. Each is told to keep idle connections longer than
// a balancer does: the ordinary advice for a server behind one.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { output } from '../support/children.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const gunicorn = 'gunicorn --bind 127.0.0.1:{port} --workers 2 --keep-alive 75 --log-level warning -c python:lameduck.gunicorn';

/** The command, and what can be held through it when that is not all. */
export const pythonServers = {
  uvicorn: { command: 'uvicorn server_python:asgi --port {port} --timeout-keep-alive 75 --log-level warning --no-access-log', leaves: 'SIGTERM' },
  'uvicorn-workers': { command: 'uvicorn server_python:asgi --workers 2 --port {port} --timeout-keep-alive 75 --log-level warning --no-access-log' },
  hypercorn: { command: 'hypercorn server_python:asgi --bind 127.0.0.1:{port} --keep-alive 75 --log-level WARNING' },
  'gunicorn-gthread': { command: `${gunicorn} --worker-class gthread --threads 16 server_python:wsgi`, holds: [] },
  'gunicorn-uvicorn': { command: `${gunicorn} --worker-class uvicorn.workers.UvicornWorker server_python:asgi` },
  granian: { command: 'granian server_python:asgi --interface asgi --port {port} --log-level warning' },
};

let programs;

/** The command as a program, its arguments and the options to spawn it. */
export async function pythonCommand(name, port) {
  programs ??= join((await output(join(here, '../../bindings/python/tests/venv.sh'), [])).trim(), 'bin');
  const [program, ...args] = pythonServers[name].command.replace('{port}', String(port)).split(' ');
  return [join(programs, program), args, { cwd: here, env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } }];
}
