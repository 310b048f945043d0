// Background work: waited for, told before the deadline, and reported when it had to be aborted.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, drainDeadline, sleep, start } from './support/server.mjs';
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

test('a job that yields is cancelled when draining begins, exit 0', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say }) => {
      const stop = (signal) => new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          say('cancelled', { message: signal.reason.message });
          reject(signal.reason);
        });
      });
      duck.job('cache', stop, { onDrain: 'cancel' }).catch(({ message }) => say('rejected', { message }));
      duck.job('other', (signal) => signal.addEventListener('abort', () => say('wrong')));
    },
  });
  server.signal();
  const { at, message } = await server.event('cancelled');
  assert.match(message, /draining/);
  assert.ok(at - server.signalled < 250, `cancelled after ${at - server.signalled} ms`);
  assert.equal((await server.event('rejected')).message, message);
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(!server.saw('wrong'));
  assert.deepEqual([end.report.jobs.cancelled, end.report.jobs.aborted], [1, 0]);
  assertGoneEarly(end, BUDGET);
});

/** Requests that begin jobs, and one (`/background`) that makes the program itself begin some. */
const orders = ({ duck, route, say, sleep }) => {
  const begin = (name, ms, options) => duck.job(name, async () => {
    await sleep(ms);
    say('done', { job: name });
  }, options).catch((error) => say('refused', { job: name, message: error.message }));
  // A timer from before the drain: what it calls runs in no request's context.
  let wanted = [];
  setInterval(() => {
    for (const { name, options } of wanted) begin(name, 10, options);
    wanted = [];
  }, 10).unref();
  route('/order', async (_req, res) => {
    res.end('taken');
    await sleep(50);
    begin('mail', 400);
  });
  route('/background', (req, res) => {
    wanted = [{ name: 'nightly' }, { name: 'told', options: { request: req } }];
    res.end();
  });
  route('/old', (_req, res) => {
    say('old');
    setTimeout(() => res.end(), 500);
    setTimeout(() => begin('of-old', 10), 250);
  });
};

test('while draining, a job of a request is taken and any other refused', async (t) => {
  const server = await start(t, { setup: orders });
  const [a, b] = [await connect(server.port), await connect(server.port)];
  server.signal();
  await server.event('phase', ({ name }) => name === 'draining');
  const order = a.request('/order');
  assert.equal((await b.request('/background')).status, 200);
  const { message } = await server.event('refused', ({ job }) => job === 'nightly');
  assert.match(message, /'nightly' was refused: the process is draining.*\{ request \}/);
  assert.equal((await order).text, 'taken');
  await server.event('done', ({ job }) => job === 'told');
  await server.event('done', ({ job }) => job === 'mail');
  const end = await server.end();
  assertReport(end, 0);
  assert.deepEqual([end.report.jobs.completed, end.report.jobs.forced], [2, 0]);
});

test('a job of an HTTP/2 stream is taken while draining, however the stream is served', async (t) => {
  const server = await start(t, {
    http2: true,
    setup: (ctx) => {
      const { duck, route, say, server, sleep } = ctx;
      const begin = async (name, options) => {
        await sleep(50);
        await duck.job(name, () => say('done', { job: name }), options).catch(({ message }) => say('refused', { job: name, message }));
      };
      route('/order', (_req, res) => begin('request').then(() => res.end('taken')));
      server.prependListener('stream', (stream, headers) => {
        if (headers[':path'] === '/order') void begin('stream');
      });
    },
  });
  const session = http2.connect(`http://127.0.0.1:${server.port}`);
  t.after(() => session.destroy());
  session.on('error', () => {});
  await once(session, 'remoteSettings');
  server.signal();
  await server.event('phase', ({ name }) => name === 'draining');
  const stream = session.request({ ':path': '/order' });
  stream.resume();
  const [headers] = await once(stream, 'response');
  assert.equal(headers[':status'], 200);
  for (const name of ['request', 'stream']) await server.event('done', ({ job }) => job === name);
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(!server.saw('refused'));
});

test('a request that came before the drain may begin jobs too', async (t) => {
  const server = await start(t, { setup: orders });
  const conn = await connect(server.port);
  const old = conn.request('/old');
  await server.event('old');
  server.signal();
  await server.event('done', ({ job }) => job === 'of-old');
  assert.equal((await old).status, 200);
  assertReport(await server.end(), 0);
});

test('a job that is begun once the drain is over is refused with the reason', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say }) => duck.onClose('late', () => duck.job('late', () => {}).catch(({ message }) => say('refused', { message }))),
  });
  server.signal();
  assert.match((await server.event('refused')).message, /'late' was refused: the process is closing/);
  assertReport(await server.end(), 0);
});

test('wrong options of a job are refused at once, and nothing runs', async (t) => {
  const server = await start(t, { setup: ({ say, ...ctx }) => (ctx.duck.never = () => say('ran')) });
  const wrong = (options, message) => assert.rejects(
    server.run(({ duck }, given) => duck.job('mail', duck.never, given), options),
    { name: 'TypeError', message },
  );
  await wrong({ onDrain: 'stop' }, /onDrain of job 'mail' is 'wait' or 'cancel', not 'stop'/);
  await wrong({ ondrain: 'wait' }, /unknown job option 'ondrain'; there are onDrain and request/);
  await wrong({ request: { method: 'GET' } }, /no request of this server: an object; pass Node's own/);
  await wrong(null, /options of job 'mail' are an object, not null/);
  server.signal();
  assertReport(await server.end(), 0);
  assert.ok(!server.saw('ran'));
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
