// Long polls, event streams and uploads: what each is told, how it ends, and what the report calls it.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import { connect, head } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertNames, assertReport, assertVerdict } from './support/report.mjs';

const WINDOW = { ...BUDGET, window: 1000 };

/** Waits for news that never come; answers 204 when it is told to. */
const poll = ({ duck, route, say }) => {
  route('/poll', (req, res) => {
    duck.longPoll(req).addEventListener('abort', () => res.writeHead(204).end(), { once: true });
    say('poll');
  });
};

test('long polls answer in the first half of the window, each at its moment, and none is lost', async (t) => {
  const server = await start(t, { options: { ...WINDOW, seed: 7 }, setup: poll });
  const conns = await Promise.all(Array.from({ length: 8 }, () => connect(server.port)));
  const answers = conns.map((conn) => conn.request('/poll'));
  await server.event('poll', () => server.events.filter(({ event }) => event === 'poll').length === 8);
  server.signal();
  const all = await Promise.all(answers);
  assert.deepEqual(all.map(({ status, closes }) => ({ status, closes })), all.map(() => ({ status: 204, closes: true })));
  const moments = all.map(({ at }) => at - server.signalled);
  assert.ok(Math.max(...moments) < WINDOW.window / 2 + 200, `${moments.map(Math.round)}`);
  assert.ok(Math.max(...moments) - Math.min(...moments) > 50, `at one moment: ${moments.map(Math.round)}`);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 8);
});

test('a long poll that begins in the second half of the window is told at once', async (t) => {
  const server = await start(t, { options: { ...BUDGET, window: 2000 }, setup: poll });
  const conn = await connect(server.port);
  await conn.request('/fast');
  server.signal();
  await server.event('phase');
  await sleep(1200);
  const began = performance.now();
  assert.equal((await conn.request('/poll')).status, 204);
  assert.ok(performance.now() - began < 300);
  assertReport(await server.end(), 0);
});

test('a long poll over HTTP/2 is told', async (t) => {
  const server = await start(t, { options: WINDOW, http2: true, setup: poll });
  const session = http2.connect(`http://127.0.0.1:${server.port}`).on('error', () => {});
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/poll' });
  const status = new Promise((resolve) => stream.on('response', (headers) => resolve(headers[':status'])));
  stream.resume();
  await server.event('poll');
  server.signal();
  assert.equal(await status, 204);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('a long poll that heeds nobody gets 503 at the drain deadline, and the report names it', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck, route, say }) => route('/deaf', (req) => {
      duck.longPoll(req);
      say('deaf');
    }),
  });
  const conn = await connect(server.port);
  const answer = conn.request('/deaf');
  await server.event('deaf');
  assert.equal(await server.run(({ duck }) => duck.blockers().oldest[0].kind), 'long_poll');
  server.signal();
  assert.equal((await answer).status, 503);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertNames(end.report, /"kind":"long_poll"/);
});

test('the client of an event stream hears when to come back, and gets no half event', async (t) => {
  const server = await start(t, {
    options: WINDOW,
    setup: ({ duck, route, say }) => {
      route('/half', (_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: whole\n\n');
        res.write(`data: ha`);
        say('half');
      });
      route('/own', (_req, res) => {
        const ending = duck.eventStream(res, { retry: '4s' });
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: hello\n\n');
        ending.addEventListener('abort', () => res.write('event: bye\ndata: see you\n\n'));
        say('own');
      });
      route('/silent', (_req, res) => {
        duck.eventStream(res, { retry: false });
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: hello\n\n');
        say('silent');
      });
    },
  });
  const half = new EventSource(`http://127.0.0.1:${server.port}/half`);
  t.after(() => half.close());
  const heard = [];
  half.addEventListener('message', ({ data }) => heard.push(data));
  const away = new Promise((resolve) => half.addEventListener('error', resolve, { once: true }));
  const own = (await connect(server.port)).request('/own');
  const silent = (await connect(server.port)).request('/silent');
  for (const name of ['half', 'own', 'silent']) await server.event(name);
  server.signal();
  const [, retry] = /^data: hello\n\nevent: bye\ndata: see you\n\n:\nretry: (\d+)\n$/.exec((await own).text) ?? [];
  assert.ok(retry >= 2000 && retry <= 6000, retry);
  assert.ok((await own).at - server.signalled >= WINDOW.window / 2 - 20, 'ended before the second half of the window');
  assert.equal((await silent).text, 'data: hello\n\n');
  await away;
  assert.equal(half.readyState, EventSource.CONNECTING, 'its client comes back by itself');
  assert.deepEqual(heard, ['whole']);
  half.close();
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 3);
});

test('an event stream over HTTP/2 may have last words, and hears when to come back', async (t) => {
  const server = await start(t, {
    options: WINDOW,
    http2: true,
    setup: ({ duck, route, say }) => route('/own', (_req, res) => {
      const ending = duck.eventStream(res, { retry: '4s' });
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write('data: hello\n\n');
      ending.addEventListener('abort', () => res.write('event: bye\ndata: see you\n\n'));
      say('own');
    }),
  });
  const session = http2.connect(`http://127.0.0.1:${server.port}`).on('error', () => {});
  t.after(() => session.destroy());
  let text = '';
  const stream = session.request({ ':path': '/own' }).setEncoding('utf8').on('data', (data) => (text += data));
  const over = new Promise((resolve) => stream.on('end', resolve));
  await server.event('own');
  server.signal();
  await over;
  assert.match(text, /^data: hello\n\nevent: bye\ndata: see you\n\n:\nretry: [2-6]\d{3}\n$/);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
});

test('what a model streams in answer to a POST, or says to be finite, is an answer: nobody cuts it short', async (t) => {
  const server = await start(t, {
    options: WINDOW,
    setup: ({ duck, route, say }) => {
      const answer = (res, took) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write('data: one\n\n');
        say('begun');
        setTimeout(() => res.end('data: two\n\n'), took);
      };
      route('/model', (_req, res) => answer(res, 1800));
      route('/finite', (_req, res) => {
        duck.eventStream(res, { finite: true });
        answer(res, 1800);
      });
    },
  });
  const model = (await connect(server.port)).request('/model', { method: 'POST', body: 'question' });
  const finite = (await connect(server.port)).request('/finite');
  await server.event('begun', () => server.events.filter(({ event }) => event === 'begun').length === 2);
  server.signal();
  assert.equal((await model).text, 'data: one\n\ndata: two\n\n');
  assert.equal((await finite).text, 'data: one\n\ndata: two\n\n');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 2);
});

test('an event stream under compression ends whole, without a word of ours among the compressed bytes', async (t) => {
  const server = await start(t, {
    setup: ({ require, route, say }) => route('/zip', (_req, res) => {
      const gzip = require('node:zlib').createGzip();
      res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' });
      gzip.pipe(res);
      gzip.write('data: hello\n\n');
      gzip.flush(() => say('zip'));
    }),
  });
  const answer = (await connect(server.port)).request('/zip');
  await server.event('zip');
  server.signal();
  const { body } = await answer;
  const { gunzipSync, constants } = await import('node:zlib');
  assert.equal(gunzipSync(body, { finishFlush: constants.Z_SYNC_FLUSH }).toString(), 'data: hello\n\n');
  assertReport(await server.end(), 0);
});

test('a body on the way is an upload as long as it is, at the hand-over and after', async (t) => {
  const server = await start(t, { options: { ...BUDGET, window: 1500 } });
  const begin = async () => {
    const conn = await connect(server.port);
    conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': 10 } }));
    conn.write('01234');
    return conn;
  };
  const kinds = () => server.run(({ duck }) => duck.blockers().oldest.map(({ kind }) => kind));
  const before = await begin();
  await server.event('upload');
  assert.deepEqual(await kinds(), ['upload']);
  server.signal();
  await server.event('phase');
  const during = await begin();
  await server.event('upload', () => server.events.filter(({ event }) => event === 'upload').length === 2);
  assert.deepEqual(await kinds(), ['upload', 'upload']);
  // Whole, but nobody answers: it is ordinary now.
  const stuck = await connect(server.port);
  stuck.write(head('/slow?ms=1000', { method: 'POST', body: 'all of it' }) + 'all of it');
  await server.event('slow');
  await sleep(250);
  assert.deepEqual(await kinds(), ['upload', 'upload', 'ordinary']);
  for (const conn of [before, during]) {
    conn.write('56789');
    assert.equal((await conn.response()).status, 200);
  }
  assert.equal((await stuck.response()).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

test('an upload over HTTP/2 is one', async (t) => {
  const server = await start(t, { options: WINDOW, http2: true });
  const session = http2.connect(`http://127.0.0.1:${server.port}`).on('error', () => {});
  t.after(() => session.destroy());
  const stream = session.request({ ':path': '/upload', ':method': 'POST' });
  const answer = new Promise((resolve) => stream.on('data', (chunk) => resolve(JSON.parse(chunk).length)));
  stream.write('01234');
  await server.event('upload');
  server.signal();
  await server.event('phase');
  const [kind] = await server.run(({ duck }) => duck.blockers().oldest.map(({ kind }) => kind));
  assert.equal(kind, 'upload');
  stream.end('56789');
  assert.equal(await answer, 10);
  assertReport(await server.end(), 0);
});

test('marking what is over, or marking it wrongly, is a clear answer', async (t) => {
  const server = await start(t, {
    setup: ({ duck, route }) => route('/mark', (_req, res) => {
      const errors = [];
      for (const options of [{ retry: 'soon' }, { retry: -1 }, { finite: 1 }, { retrie: 1 }]) {
        try {
          duck.eventStream(res, options);
        } catch (error) {
          errors.push(`${error.name}: ${error.message}`);
        }
      }
      res.on('close', () => errors.push(duck.longPoll(res.req).aborted, duck.eventStream(res).aborted));
      globalThis.errors = errors;
      res.end();
    }),
  });
  await (await connect(server.port)).request('/mark');
  const [soon, negative, finite, misspelt, ...aborted] = await server.run(() => globalThis.errors);
  assert.match(soon, /RangeError: lameduck: retry/);
  assert.match(negative, /RangeError: lameduck: retry/);
  assert.match(finite, /TypeError: lameduck: finite is true or false/);
  assert.match(misspelt, /TypeError: lameduck: unknown option 'retrie'/);
  assert.deepEqual(aborted, [true, true]);
});
