// Worker threads: the addon comes and goes, the process's signals and its watchdog stay the main thread's, and the main thread
// gives its workers less time than it has.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connect, head, request } from './support/client.mjs';
import { assertReport } from './support/report.mjs';

const fixture = fileURLToPath(new URL('./fixtures/threads.mjs', import.meta.url));

function run(t, ...args) {
  const child = spawn(process.execPath, [fixture, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '' },
  });
  const it = { child, events: [], stderr: '' };
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) it.events.push(JSON.parse(line));
    child.emit('events');
  });
  child.stderr.setEncoding('utf8').on('data', (text) => (it.stderr += text));
  it.ended = once(child, 'close').then(([code, signal]) => {
    child.emit('events');
    return { code, signal, at: performance.now(), stderr: it.stderr, report: it.events.find(({ event }) => event === 'report')?.report };
  });
  it.event = async (name) => {
    for (;;) {
      const found = it.events.find(({ event }) => event === name);
      if (found) return found;
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`it ended without ${name}:\n${it.stderr}`);
      await once(child, 'events');
    }
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  t.after(async () => {
    clearTimeout(timer);
    child.kill('SIGKILL');
    await it.ended;
  });
  return it;
}

test('the addon loads and unloads in a hundred workers, terminated ones too: no crash, no thread left', async (t) => {
  const it = run(t, 'repeat');
  const { before, after, codes } = await it.event('repeated');
  const end = await it.ended;
  assert.deepEqual({ code: end.code, signal: end.signal }, { code: 0, signal: null }, end.stderr);
  assert.deepEqual(codes, { 0: 66 }, 'every worker that was left alone ended by itself');
  assert.deepEqual([before.ours, after.ours], [2, 2], 'the main thread has its watchdog');
  assert.ok(after.all <= before.all + 4, `${before.all} threads before, ${after.all} after`);
});

test('on SIGTERM the main thread tells its worker, which is gone before the main thread closes what they share', async (t) => {
  const it = run(t, 'together');
  const main = await it.event('main-listening');
  const worker = await it.event('worker-listening');
  assert.equal(main.childGrace, 4500, "the main thread's drain deadline");
  const [one, two] = [await connect(main.port), await connect(worker.port)];
  const answers = [one.request('/?ms=700'), two.request('/?ms=1200')];
  await request(worker.port, '/');
  it.child.kill('SIGTERM');
  for (const answer of answers) assert.equal((await answer).text, 'answered');
  const end = await it.ended;
  assertReport(end, 0);
  assert.equal(end.code, 0);
  const told = await it.event('worker-report');
  assert.equal(told.requests.completed, 1);
  assert.ok(told.grace <= 4500 && told.grace > 4000, `the worker's grace was ${told.grace} ms`);
  const order = it.events.map(({ event }) => event).filter((event) => ['worker-exit', 'close-hook', 'report'].includes(event));
  assert.deepEqual(order, ['worker-exit', 'close-hook', 'report']);
  assert.equal((await it.event('worker-exit')).code, 0);
  assert.match(end.stderr, /^lameduck \(worker \d+\): stopping: parent \(programmatic\)/m);
  assert.match(end.stderr, /^lameduck \(worker \d+\): report \{/m);
});

test('a worker whose loop is blocked costs no more than the drain: the main thread names it and is gone in time', async (t) => {
  const it = run(t, 'together');
  const worker = await it.event('worker-listening');
  await it.event('main-listening');
  const conn = await connect(worker.port);
  conn.write(head('/block'));
  await it.event('block');
  const signalled = performance.now();
  it.child.kill('SIGTERM');
  const end = await it.ended;
  assertReport(end, 1);
  assert.ok(end.at - signalled < 5500 + 250, `gone after ${end.at - signalled} ms`);
  assert.equal(end.report.jobs.forced, 1);
  assert.equal(end.report.forced[0].name, 'worker');
});

test("in a worker signals are refused with a sentence, and neither listeners nor the watchdog's threads are made", async (t) => {
  const it = run(t, 'ask', 'refuse');
  const { message } = await it.event('message');
  assert.match(message.refused.join(), /^lameduck: signals: a worker thread gets none\. The main thread gets them/);
  assert.equal(message.listeners, 0);
  assert.deepEqual([message.before.ours, message.after.ours], [0, 0]);
});

test('an error that nobody catches ends the worker, after its requests, and not the process', async (t) => {
  const it = run(t, 'ask', 'fail');
  assert.equal((await it.event('answered')).status, 200);
  assert.equal((await it.event('worker-exit')).code, 1);
  const end = await it.ended;
  assert.equal(end.code, 0, end.stderr);
  assert.match(end.stderr, /uncaught_exception: Error: boom/);
});
