// While developing nobody waits: Ctrl-C and `node --watch` are instant, an idle browser connection notwithstanding.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { sleep } from './support/server.mjs';

const subject = new URL('./support/subject.mjs', import.meta.url).href;

/** Runs a small server with every default under a pseudo-terminal; `type` sends keys to it. */
function terminal(t, flags) {
  const folder = mkdtempSync(join(tmpdir(), 'lameduck-terminal-'));
  const file = join(folder, 'app.mjs');
  writeFileSync(file, `
    import http from 'node:http';
    import { lameduck } from ${JSON.stringify(subject)};
    const server = http.createServer((_req, res) => res.end('hi'));
    lameduck(server);
    server.listen(0, '127.0.0.1', () => console.log('port=' + server.address().port + '.'));
    process.on('exit', (code) => console.log('gone=' + code + '.'));
  `);
  const child = spawn('script', ['-qec', `${process.execPath} ${flags} ${file}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, NODE_ENV: '' } });
  const screen = { child, file, text: '', type: (keys) => child.stdin.write(keys) };
  child.stdout.on('data', (text) => (screen.text += text));
  screen.ended = new Promise((resolve) => child.once('exit', resolve));
  screen.until = async (pattern, limit = 10_000) => {
    for (const begin = performance.now(); performance.now() - begin < limit; await sleep(5)) {
      const found = screen.text.match(pattern);
      if (found) return found;
    }
    throw new Error(`no ${pattern} on the terminal within ${limit} ms:\n${screen.text}`);
  };
  t.after(async () => {
    // The hang-up of the terminal ends whatever runs in it.
    child.kill('SIGKILL');
    await screen.ended;
    rmSync(folder, { recursive: true });
  });
  return screen;
}

async function idleKeepAlive(port) {
  const conn = await connect(port);
  assert.equal((await conn.request('/')).text, 'hi');
  return conn;
}

test('Ctrl-C on a terminal is instant', async (t) => {
  const screen = terminal(t, '');
  await idleKeepAlive((await screen.until(/port=(\d+)\./))[1]);
  const began = performance.now();
  screen.type('\x03');
  await screen.ended;
  assert.ok(performance.now() - began < 1200, `took ${performance.now() - began} ms:\n${screen.text}`);
});

test('node --watch restarts at once', async (t) => {
  const screen = terminal(t, '--watch');
  await idleKeepAlive((await screen.until(/port=(\d+)\./))[1]);
  await sleep(200);
  const began = performance.now();
  const now = new Date();
  utimesSync(screen.file, now, now);
  await screen.until(/port=\d+\.[^]*port=\d+\./);
  assert.ok(performance.now() - began < 2500, `took ${performance.now() - began} ms:\n${screen.text}`);
});

test('Ctrl-C under node --watch is instant', async (t) => {
  const screen = terminal(t, '--watch');
  await idleKeepAlive((await screen.until(/port=(\d+)\./))[1]);
  const began = performance.now();
  screen.type('\x03');
  await screen.ended;
  assert.ok(performance.now() - began < 1500, `took ${performance.now() - began} ms:\n${screen.text}`);
});
