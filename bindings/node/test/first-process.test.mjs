// As a container starts it: in a PID namespace of its own, where whoever runs as process 1 gets the stop signal.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from './support/client.mjs';

const UNSHARE = ['--pid', '--fork', '--kill-child', '--mount-proc'];
const permitted = spawnSync('unshare', [...UNSHARE, 'true']).status === 0;
const skip = permitted ? false : 'this user may not make a PID namespace (unshare --pid): run it as root on Linux';
const subject = new URL('./support/subject.mjs', import.meta.url).href;
const SERVER = `
  import http from 'node:http';
  import { lameduck } from ${JSON.stringify(subject)};
  const server = http.createServer((_req, res) => { console.log('asked=.'); setTimeout(() => res.end('answered'), 2_000); });
  lameduck(server, { grace: '5s', window: 200, quiet: 100 });
  server.listen(0, '127.0.0.1', () => console.log('port=' + server.address().port + '.'));
`;

/** Runs `command` as process 1 of a namespace; `stop` sends the signal that a container runtime would send. */
async function container(t, ...command) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-container-'));
  writeFileSync(join(folder, 'server.mjs'), SERVER);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, scripts: { start: 'echo up && node server.mjs', execed: 'exec node server.mjs' } }));
  const child = spawn('unshare', [...UNSHARE, ...command], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Kubernetes is recognised by it everywhere, whether this machine is itself a container or not.
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', KUBERNETES_SERVICE_HOST: '10.0.0.1', npm_config_cache: folder, npm_config_update_notifier: 'false' },
  });
  const it = { text: '' };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (it.text += text));
  it.ended = once(child, 'close').then(([code]) => code);
  t.after(async () => {
    child.kill('SIGKILL');
    await it.ended;
    rmSync(folder, { recursive: true, force: true });
  });
  it.until = async (pattern) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
    while (!pattern.test(it.text)) {
      assert.equal(child.exitCode ?? child.signalCode, null, it.text);
      await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    }
    clearTimeout(timer);
    return pattern.exec(it.text);
  };
  it.stop = () => process.kill(Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()), 'SIGTERM');
  const [, port] = await it.until(/^port=(\d+)\.$/m);
  return Object.assign(it, { port: Number(port) });
}

/** Asks, stops the container in the middle of it, and says what became of both. */
async function stopInMidRequest(it) {
  const conn = await connect(it.port);
  const answer = conn.request('/').then(({ text }) => text, () => 'failed');
  await it.until(/^asked=/m);
  it.stop();
  return { answer: await answer, code: await it.ended };
}

const WARNING = /a request to stop this container goes to '(\w+)' \(process 1\), which does not pass it on/;

test('node as process 1 hears the signal and drains', { skip }, async (t) => {
  const it = await container(t, process.execPath, 'server.mjs');
  assert.deepEqual(await stopInMidRequest(it), { answer: 'answered', code: 0 });
  assert.match(it.text, /as the first process of its container/);
  assert.doesNotMatch(it.text, WARNING);
});

test('npm start as process 1: the start warns, and rightly so: the request is lost and nobody was told', { skip }, async (t) => {
  const it = await container(t, 'npm', 'start');
  assert.equal(WARNING.exec(it.text)?.[1], 'npm', it.text);
  const { answer, code } = await stopInMidRequest(it);
  assert.equal(answer, 'failed');
  assert.notEqual(code, 0);
  assert.doesNotMatch(it.text, /stopping:/);
});

test('a shell script as process 1 that runs node: the start warns', { skip }, async (t) => {
  const it = await container(t, 'sh', '-c', `${process.execPath} server.mjs; echo over`);
  assert.equal(WARNING.exec(it.text)?.[1], 'sh', it.text);
});

test('npm as process 1 and a script that begins with exec, as the warning advises: no warning, and it drains', { skip }, async (t) => {
  const it = await container(t, 'npm', 'run', 'execed');
  assert.doesNotMatch(it.text, WARNING);
  assert.equal((await stopInMidRequest(it)).answer, 'answered');
  assert.match(it.text, /lameduck: done in .* exit code 0/);
});
