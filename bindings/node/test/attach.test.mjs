// Attaching itself: it hides nothing of the server, keeps nothing alive, and loads from both module systems and in workers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect, request } from './support/client.mjs';
import { sleep, start } from './support/server.mjs';
import { assertReport } from './support/report.mjs';

test('adds no listener whose mere presence switches a default of Node off', async (t) => {
  const server = await start(t);
  const counts = await server.run(({ server }) => ['upgrade', 'clientError', 'timeout', 'checkContinue', 'checkExpectation', 'connect'].map((name) => server.listenerCount(name)));
  assert.deepEqual(counts, [0, 0, 0, 0, 0, 0]);
  // Node's own answer to a malformed request, which a clientError listener would replace.
  const conn = await connect(server.port);
  conn.write('NONSENSE\r\n\r\n');
  assert.match(await conn.until('\r\n\r\n'), /^HTTP\/1\.1 400 /);
});

test('costs no visible header or change while serving', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const { headers, closes } = await conn.request('/fast');
  assert.equal(closes, false);
  assert.deepEqual(Object.keys(headers).sort(), ['connection', 'content-length', 'date', 'keep-alive']);
});

test('does not keep the process alive once the application closed its server', async (t) => {
  const server = await start(t);
  await request(server.port);
  server.signalled = performance.now();
  await server.run(({ server }) => { server.close(); });
  const end = await server.end();
  assert.deepEqual({ code: end.code, signal: end.signal }, { code: 0, signal: null });
  assert.ok(end.after < 2000, `ended ${end.after} ms after close`);
});

test('a server that the application closed itself still ends cleanly on SIGTERM', async (t) => {
  const server = await start(t, { setup: (ctx) => { ctx.alive = setInterval(() => {}, 1000); } });
  await server.run(({ server }) => new Promise((resolve) => server.close(resolve)));
  server.signal();
  assertReport(await server.end(), 0);
});

test('server.close() called during the drain by the application changes nothing for what is in flight', async (t) => {
  const server = await start(t);
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=700');
  await server.event('slow');
  server.signal();
  await server.event('phase');
  await server.run(({ server }) => { server.close(); });
  assert.equal((await answer).text, 'slow');
  assertReport(await server.end(), 0);
});

test('the same server twice is refused', async (t) => {
  const server = await start(t);
  await assert.rejects(server.run(({ lameduck, server }) => { lameduck(server); }), { message: /already|twice/i });
  await assert.rejects(server.run(({ duck, server }) => { duck.add(server); }), { message: /already|twice/i });
  server.signal();
  assertReport(await server.end(), 0);
});

test('require and import give the same function', async (t) => {
  if (process.env.LAMEDUCK_TEST_SUBJECT) return t.skip('peers have one module system');
  const index = new URL('../index.cjs', import.meta.url);
  const { lameduck } = await import(new URL('../index.mjs', import.meta.url).href);
  assert.equal(createRequire(import.meta.url)(fileURLToPath(index)).lameduck, lameduck);
  assert.equal(typeof lameduck, 'function');
});

test('a process that only imports it ends by itself', async () => {
  const child = spawn(process.execPath, ['--input-type=module', '-e', `import ${JSON.stringify(new URL('./support/subject.mjs', import.meta.url).href)};`], { stdio: 'ignore' });
  const result = await Promise.race([once(child, 'exit'), sleep(5000)]);
  child.kill('SIGKILL');
  assert.deepEqual(result, [0, null]);
});

test('a connection that was there before counts from its next request on', async () => {
  const { lameduck } = await import('../index.mjs');
  const { createServer } = await import('node:http');
  const server = createServer((_, response) => setTimeout(() => response.end('answer'), 150));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const conn = await connect(server.address().port);
  await conn.request('/');
  const duck = lameduck(server, { exit: false, signals: [], logger: false, window: 50, quiet: 50 });
  for (let round = 0; round < 3; round++) assert.equal((await conn.request('/')).text, 'answer');
  assert.equal(duck.blockers().requests, 0);
  const last = conn.request('/');
  await sleep(50);
  assert.equal(duck.blockers().requests, 1);
  const report = await duck.shutdown();
  assert.equal((await last).text, 'answer');
  assert.deepEqual([report.requests.adopted, report.requests.completed, report.exit_code], [1, 1, 0]);
});
