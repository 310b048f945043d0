// What supervises the process: the service manager is told, PM2 and a cluster's primary are heard.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect } from './support/client.mjs';
import { startClients } from './support/clients.mjs';
import { BUDGET, assertGoneEarly, start } from './support/server.mjs';
import { assertCause, assertReport } from './support/report.mjs';

/** Node has no datagram sockets of the Unix kind. */
const RECEIVER = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(receiver.recv(65536).decode(), end="", flush=True)
`;

async function serviceManager(t) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-notify-'));
  const name = join(folder, 'socket');
  const child = spawn('python3', ['-c', RECEIVER, name], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  const lines = [];
  const output = createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  /** It reads in its own time, so a line may come after what the server did next. */
  const heard = async (line) => {
    while (!lines.includes(line)) await once(output, 'line');
  };
  await heard('bound');
  return { name, lines, child, heard };
}

test('systemd hears ready, what is waited for, that more time is needed, and stopping only when the listener closes', { timeout: 15_000 }, async (t) => {
  const manager = await serviceManager(t);
  const server = await start(t, { env: { NOTIFY_SOCKET: manager.name } });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=900');
  await server.event('slow');
  await manager.heard('READY=1');
  server.signal();
  await answer;
  const end = await server.end();
  assertReport(end, 0);
  await manager.heard('STATUS=done, nothing was lost');
  const { lines } = manager;
  const at = (what) => lines.findIndex((line) => what.test(line));
  assert.ok(at(/^EXTEND_TIMEOUT_USEC=\d+$/) > at(/^READY=1$/), lines.join());
  assert.ok(at(/^STATUS=draining, still accepting: 1 request/) > 0, lines.join());
  assert.ok(at(/^STOPPING=1$/) > at(/^STATUS=draining, still accepting/), lines.join());
  assert.equal(lines.at(-1), 'STATUS=done, nothing was lost');
});

test('a service manager that is not there costs one warning and nothing else', async (t) => {
  const server = await start(t, { env: { NOTIFY_SOCKET: '/nowhere/at/all' } });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assert.equal(end.stderr.match(/does not hear us/g)?.length, 1, end.stderr);
});

test("PM2's kill_timeout is read, and a grace beyond it is warned of", async (t) => {
  const env = { pm_id: '0', pm_exec_path: '/app/server.js', PM2_HOME: '/root/.pm2', kill_timeout: '3000' };
  const server = await start(t, { env });
  server.signal();
  const end = await server.end();
  assert.match(end.stderr, /supervised by PM2 \(kills after 3s, its kill_timeout\)/);
  assert.match(end.stderr, /grace is 6s, but PM2 kills this process 3s after/);
});

const CLUSTER = fileURLToPath(new URL('fixtures/cluster.mjs', import.meta.url));

async function cluster(t, env = {}) {
  const child = spawn(process.execPath, [CLUSTER], {
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  t.after(() => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // All gone.
    }
  });
  const said = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    said.push(...lines.map((line) => JSON.parse(line)));
  });
  const hear = async (which) => {
    for (;;) {
      const found = said.find(which);
      if (found) return found;
      await once(child.stdout, 'data');
    }
  };
  await hear(() => said.filter(({ listening }) => listening).length === 2);
  return { child, said, hear, port: said[0].port, workers: said.map(({ listening, pid }) => ({ id: listening, pid })) };
}

for (const sched of ['rr', 'none']) {
  test(`a cluster's worker is replaced under load without fencing the others' listener (${sched})`, async (t) => {
    const { hear, port, workers } = await cluster(t, { SCHED: sched });
    const { failures, seen, stop } = startClients(port, 20);
    while (seen.size < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    process.kill(workers[0].pid, 'SIGTERM');
    const { code, signal } = await hear(({ gone }) => gone === workers[0].id);
    seen.clear();
    // Whoever comes now finds the other one, at once.
    const late = connect(port).then((conn) => conn.request('/')).then(({ text }) => text);
    const overdue = new Promise((resolve) => setTimeout(resolve, 800, 'nobody answers new connections').unref());
    assert.equal(await Promise.race([late, overdue]), String(workers[1].pid));
    await stop();
    assert.deepEqual({ code, signal, failures }, { code: 0, signal: null, failures: [] });
    assert.deepEqual([...seen], [String(workers[1].pid)]);
  });
}

test('a worker whose primary is gone answers what is in flight, and goes', async (t) => {
  const { child, port, workers } = await cluster(t);
  const conn = await connect(port);
  await conn.request('/');
  const answer = conn.request('/slow');
  await new Promise((resolve) => setTimeout(resolve, 100));
  child.kill('SIGKILL');
  const { status, closes } = await answer;
  assert.deepEqual({ status, closes }, { status: 200, closes: true });
  const alive = ({ pid }) => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  const end = performance.now() + 5_000;
  while (workers.some(alive) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(workers.some(alive), false);
});

test("PM2's message 'shutdown' stops the server", async (t) => {
  const env = { pm_id: '0', pm_exec_path: '/app/server.js', PM2_HOME: '/root/.pm2', kill_timeout: '9000' };
  const server = await start(t, { env, ipc: true });
  assert.equal(await server.message, 'ready');
  server.signalled = performance.now();
  server.child.send('shutdown');
  const end = await server.end();
  assertReport(end, 0);
  assertCause(end.report, 'peer_message', "PM2's message 'shutdown'");
});

test('a misspelt variable is named at the start, with the one that was meant', async (t) => {
  const server = await start(t, { env: { LAMEDUCK_WINDW: '0', lameduck_grace: '5', LAMEDUCK_WINDOW: '0.2' } });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assert.match(end.stderr, /^lameduck: LAMEDUCK_WINDW is not read; did you mean LAMEDUCK_WINDOW\?$/m);
  assert.match(end.stderr, /^lameduck: lameduck_grace is not read; did you mean LAMEDUCK_GRACE\?$/m);
  assert.doesNotMatch(end.stderr, /LAMEDUCK_WINDOW is not read/);
});
