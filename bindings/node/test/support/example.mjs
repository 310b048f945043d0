// Starts a server of examples/ as its user would, with this folder's packages.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../../../tests/support/children.mjs';
import { request } from './client.mjs';

const EXAMPLES = fileURLToPath(new URL('../../../../examples/', import.meta.url));
const PACKAGES = new URL('examples.mjs', import.meta.url).href;
const LIFETIME = 20_000;

/** The budget of these tests, in seconds. */
export const BUDGET = { LAMEDUCK_GRACE: '6', LAMEDUCK_WINDOW: '0.6', LAMEDUCK_QUIET: '0.15', LAMEDUCK_SETTLE: '0.05' };

/** Starts `examples/<program>`, or a program by its URL; resolves once it answers its readiness probe. `imports` are modules to load before it. */
export async function startExample(t, program, { env = {}, imports = [] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-example-'));
  const port = await freePort();
  const flags = [PACKAGES, ...imports].flatMap((url) => ['--import', url]);
  const child = spawn(process.execPath, [...flags, program instanceof URL ? fileURLToPath(program) : join(EXAMPLES, program)], {
    cwd: folder,
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', PORT: String(port), JOURNAL: join(folder, 'journal.log'), ...BUDGET, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const server = { port, child, folder, said: '' };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (server.said += text));
  const exited = once(child, 'close');
  const timer = setTimeout(() => child.kill('SIGKILL'), LIFETIME);
  t.after(async () => {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  });
  /** Sends SIGTERM; from here `end()` counts. */
  server.signal = () => {
    server.signalled = performance.now();
    child.kill('SIGTERM');
  };
  /** Resolves once the server has said it. */
  server.says = async (pattern) => {
    while (!pattern.test(server.said)) await Promise.race([once(child.stderr, 'data'), exited.then(() => { throw new Error(`it never said ${pattern}:\n${server.said}`); })]);
  };
  /** Waits for the exit; `report` is what it logged. */
  server.end = async () => {
    const [code, signal] = await exited;
    const [, report] = /^lameduck: report (\{.*\})/m.exec(server.said) ?? [];
    return { code, signal, after: performance.now() - server.signalled, report: report && JSON.parse(report), stderr: server.said };
  };
  server.journal = () => readFileSync(join(folder, 'journal.log'), 'utf8');
  const ready = () => request(port, '/readyz').then(({ status }) => status === 200, () => false);
  while (!(await ready())) {
    if (child.exitCode !== null) throw new Error(`${program} did not come up:\n${server.said}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return server;
}
