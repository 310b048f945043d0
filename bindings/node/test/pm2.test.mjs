// The real PM2: it waits for our `ready`, asks with SIGINT, and would kill after `kill_timeout`.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startClients } from './support/clients.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

for (const mode of ['cluster', 'fork']) {
  test(`pm2 reload under load, ${mode} mode: ${mode === 'cluster' ? 'no request fails, and ' : ''}every process ends by itself, exit 0`, async (t) => {
    const home = mkdtempSync(join(tmpdir(), 'lameduck-pm2-'));
    const port = await freePort();
    const app = {
      name: 'app', script: here('fixtures/pm2.mjs'), exec_mode: mode, instances: mode === 'cluster' ? 2 : 1,
      wait_ready: true, listen_timeout: 20_000, kill_timeout: 4000, env: { PORT: String(port), NODE_ENV: 'production', REPORTS: home },
      merge_logs: true, out_file: join(home, 'out'), error_file: join(home, 'err'), autorestart: false,
    };
    const config = join(home, 'ecosystem.config.cjs');
    writeFileSync(config, `module.exports = ${JSON.stringify({ apps: [app] })};`);
    const pm2 = (...args) => promisify(execFile)(process.execPath, [here('node_modules/pm2/bin/pm2'), ...args, '--silent'], {
      env: { ...process.env, PM2_HOME: join(home, 'pm2'), NODE_OPTIONS: '' },
    });
    t.after(async () => {
      await pm2('kill');
      rmSync(home, { recursive: true, force: true });
    });
    await pm2('start', config);

    const { failures, seen, stop } = startClients(port, 10);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await pm2('reload', 'app');
    // A busy machine lets PM2 come back before the last one has gone.
    const gone = () => readFileSync(join(home, 'pm2', 'pm2.log'), 'utf8').match(/App \[app:.*\] exited with code \[\d+\].*/g) ?? [];
    for (let n = 0; n < 200 && gone().length < app.instances; n++) await new Promise((resolve) => setTimeout(resolve, 50));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await stop();

    // Not from our own log: of the last lines PM2 loses some in cluster mode.
    assert.equal(gone().length, app.instances, gone().join('\n'));
    for (const line of gone()) assert.match(line, /exited with code \[0\] via signal \[SIGINT\]/);
    const reports = readdirSync(home).filter((name) => /^\d+\.json$/.test(name));
    assert.equal(reports.length, app.instances, 'every process that ended has left its report');
    for (const name of reports) {
      const report = JSON.parse(readFileSync(join(home, name), 'utf8'));
      assert.deepEqual([report.phase, report.exit_code, report.cause_detail], ['done', 0, 'SIGINT']);
    }
    const log = readFileSync(join(home, 'err'), 'utf8');
    assert.match(log, /supervised by PM2 \(kills after 4s, its kill_timeout\)/);
    assert.equal(seen.size, 2 * app.instances, 'old and new processes have answered');
    if (mode === 'cluster') assert.deepEqual(failures, []);
    // Nobody was cut: whoever failed found nobody listening.
    else assert.deepEqual(failures.filter((message) => !message.includes('ECONNREFUSED')), []);
  });
}
