// Background work: waited for, told before the deadline, and reported when it had to be aborted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { TIGHT, assertGoneByT, drainDeadline, sleep, start } from './support/server.mjs';
import { assertNames, assertReport } from './support/report.mjs';

test('a job that ends in time is waited for, and job returns what it returned', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, sleep }) => {
      duck.job('mail', async () => {
        await sleep(900);
        say('job', { name: 'mail' });
        return 42;
      }).then((value) => say('value', { value }));
    },
  });
  await sleep(50);
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(server.saw('job'));
  assert.equal((await server.event('value')).value, 42);
});

test('a job that does not end is aborted before the drain deadline, named, exit 1', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck, say }) => {
      duck.job('import-catalogue', (signal) => new Promise(() => signal.addEventListener('abort', () => say('aborted')))).catch(() => {});
    },
  });
  server.signal();
  const { at } = await server.event('aborted');
  assert.ok(at - server.signalled <= drainDeadline(TIGHT) + 100, `aborted after ${at - server.signalled} ms`);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertNames(end.report, /import-catalogue/);
});

test('a job whose own error rejects leaves the shutdown clean', async (t) => {
  const server = await start(t);
  await assert.rejects(server.run(({ duck }) => duck.job('broken', async () => { throw new Error('no stock'); })), { message: 'no stock' });
  server.signal();
  assertReport(await server.end(), 0);
});

test("a request's abort signal fires before the drain deadline, in time to roll back and answer", async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck, route, say }) => route('/transaction', (req, res) => {
      duck.requestSignal(req).addEventListener('abort', () => {
        say('rolled-back');
        res.writeHead(500).end('rolled back');
      });
      say('transaction');
    }),
  });
  const conn = await connect(server.port);
  const answer = conn.request('/transaction');
  await server.event('transaction');
  server.signal();
  const { status, text, closes } = await answer;
  assert.deepEqual({ status, text, closes }, { status: 500, text: 'rolled back', closes: true });
  assert.ok(server.elapsed < drainDeadline(TIGHT), `answered after ${server.elapsed} ms`);
  const end = await server.end();
  assertReport(end, 0);
});
