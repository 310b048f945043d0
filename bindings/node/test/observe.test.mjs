// What an operator sees while it runs and while it stops: metrics, blockers, log lines.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { connect, head, request } from './support/client.mjs';
import { BUDGET, TIGHT, sleep, start } from './support/server.mjs';
import { assertReport } from './support/report.mjs';

test('metrics: Prometheus text with the phase and the requests in flight, serving and draining', async (t) => {
  const server = await start(t);
  const conns = [await connect(server.port), await connect(server.port)];
  for (const conn of conns) conn.request('/slow?ms=900').catch(() => {});
  await sleep(100);
  const inFlight = /^lameduck_\w*in_flight\w*(\{[^}]*\})? 2$/m;
  const serving = await server.run(({ duck }) => duck.metrics());
  assert.match(serving, /^# TYPE lameduck_\w+ (gauge|counter)$/m);
  assert.match(serving, inFlight);
  assert.match(serving, /^lameduck_\w*phase\w*/m);
  server.signal();
  await server.event('phase');
  const draining = await server.run(({ duck }) => duck.metrics());
  assert.match(draining, inFlight);
  assert.notEqual(draining.match(/^lameduck_\w*phase.*$/gm).join(), serving.match(/^lameduck_\w*phase.*$/gm).join());
  for (const line of draining.trim().split('\n')) assert.match(line, /^(#.*|[a-z_:][\w:]*(\{.*\})? -?[\d.e+]+)$/i);
  assertReport(await server.end(), 0);
});

test('blockers: what is in flight, oldest first', async (t) => {
  const server = await start(t);
  const [one, two] = [await connect(server.port), await connect(server.port)];
  one.request('/slow?ms=1000').catch(() => {});
  await server.event('slow');
  await sleep(120);
  two.request('/stuck').catch(() => {});
  await server.event('stuck');
  server.signal();
  await server.event('phase');
  const blockers = await server.run(({ duck }) => duck.blockers());
  assert.equal(blockers.requests, 2);
  assert.deepEqual(blockers.oldest.filter(({ what }) => what === 'request').map(({ label }) => label), ['GET /slow', 'GET /stuck']);
  assert.ok(blockers.oldest[0].age_ms > 100);
  await server.kill();
});

test('blockers name the same things with the same kinds and protocols while serving as while draining', async (t) => {
  const server = await start(t, {
    options: { ...BUDGET, window: 1500 },
    setup: ({ server, duck, route, require, say, http2, listen }) => {
      const { WebSocketServer } = require('ws');
      new WebSocketServer({ server }).on('connection', () => say('socket'));
      route('/events', (_req, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n');
        say('events');
      });
      duck.job('import', () => new Promise(() => {}));
      const two = http2.createServer(() => say('stream'));
      duck.add(two);
      listen(two).then((port) => say('two', { port }));
    },
  });
  const { port: two } = await server.event('two');
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/socket`);
  const session = http2.connect(`http://127.0.0.1:${two}`);
  t.after(() => {
    socket.terminate();
    session.destroy();
  });
  for (const one of [socket, session]) one.on('error', () => {});
  const conns = [await connect(server.port), await connect(server.port), await connect(server.port), await connect(server.port)];
  conns[0].request('/stuck').catch(() => {});
  conns[1].write(head('/upload', { method: 'POST', headers: { 'Content-Length': 1000 } }) + 'a part');
  conns[2].write(head('/events'));
  session.request({ ':path': '/two' }).on('error', () => {});
  for (const event of ['stuck', 'upload', 'events', 'socket', 'stream']) await server.event(event);
  const look = async () => {
    const { oldest, requests, jobs } = await server.run(({ duck }) => duck.blockers());
    const said = oldest.map(({ what, protocol, kind, label, name, state }) => [what, protocol, kind, label ?? name, state].filter(Boolean).join(' '));
    return { said: said.sort(), requests, jobs };
  };
  const serving = await look();
  assert.deepEqual(serving, {
    requests: 5,
    jobs: 1,
    said: [
      'job import',
      'request http1 ordinary GET /stuck unanswered',
      'request http1 stream GET /events response begun',
      'request http1 upload POST /upload unanswered',
      'request http2 ordinary GET /two unanswered',
      'request websocket ordinary GET /socket response begun',
    ],
  });
  server.signal();
  await server.event('phase');
  assert.deepEqual(await look(), serving);
  await server.kill();
});

test('log lines go to standard error, start with lameduck, and say where each value came from', async (t) => {
  const server = await start(t, { options: { grace: 6000 }, env: { LAMEDUCK_GRACE: '1.5' } });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  const lines = end.stderr.trim().split('\n').filter((line) => line.startsWith('lameduck'));
  assert.ok(lines.length >= 2, end.stderr);
  assert.match(end.stderr, /grace[^\n]*1\.5\s?s|grace[^\n]*1500/);
  assert.match(end.stderr, /LAMEDUCK_GRACE|environment/);
});

test('logger: an object of the shape of pino or console takes the lines instead', async (t) => {
  const server = await start(t, {
    options: ({ say }) => {
      const line = (...parts) => say('log', { text: parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join(' ') });
      return { grace: 2000, window: 300, quiet: 150, logger: { info: line, warn: line, error: line, debug: line } };
    },
  });
  await request(server.port);
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(server.events.filter(({ event }) => event === 'log').length >= 2);
  assert.doesNotMatch(end.stderr, /^lameduck/m);
});

for (const [how, make] of [
  ['through a transport, which is a thread', (require) => require('pino')({ base: undefined }, require('pino').transport({ target: 'pino/file', options: { destination: process.env.PINO } }))],
  ['asynchronously', (require) => require('pino')({ base: undefined }, require('pino').destination({ dest: process.env.PINO, sync: false }))],
]) {
  test(`the real pino, ${how}: it has every line to the last, each with its level`, async (t) => {
    const file = join(mkdtempSync(join(tmpdir(), 'lameduck-pino-')), 'log');
    t.after(() => rmSync(dirname(file), { recursive: true }));
    const server = await start(t, {
      env: { PINO: file },
      options: `({ require }) => ({ grace: 3000, window: 200, quiet: 100, logger: (${make})(require) })`,
      setup: ({ duck }) => duck.onClose('pool', () => { throw new Error('no pool'); }),
    });
    server.signal();
    const end = await server.end();
    assertReport(end, 1);
    const lines = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    const story = lines.map(({ level, msg }) => `${level} ${msg.replace('lameduck: ', '').split(/[ :]/, 1)[0]}`);
    // pino's own flush at the end may overtake a write that is under way: each line is there, once, in whatever order.
    const inOrder = how === 'asynchronously' ? (list) => list.toSorted() : (list) => list;
    assert.deepEqual(inOrder(story.slice(-7)), inOrder(['30 listener', '30 listener', '30 closing', '40 close', '40 close', '40 done', '30 report']));
    const report = lines.find(({ msg }) => msg.startsWith('lameduck: report ')).msg;
    assert.deepEqual(JSON.parse(report.replace('lameduck: report ', '')), end.report);
    assert.doesNotMatch(end.stderr, /^lameduck/m);
  });
}

test('console takes the lines as its own: warnings go to standard error', async (t) => {
  const server = await start(t, { options: () => ({ grace: 3000, window: 200, quiet: 100, logger: console }), setup: ({ duck }) => duck.onClose('pool', () => { throw new Error('no pool'); }) });
  server.signal();
  assertReport(await server.end(), 1);
  assert.match(server.stdout, /^lameduck: report \{/m);
  assert.match(server.stderr, /^lameduck: close hook 'pool' failed/m);
  assert.doesNotMatch(server.stderr, /^lameduck: stopping/m);
});

test('a logger that throws does not break the drain', async (t) => {
  const server = await start(t, {
    options: () => {
      const line = () => { throw new Error('log transport is gone'); };
      return { grace: 2000, window: 300, quiet: 150, logger: { info: line, warn: line, error: line, debug: line } };
    },
  });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=600');
  await server.event('slow');
  server.signal();
  assert.equal((await answer).status, 200);
  assertReport(await server.end(), 0);
});

test('a phase or report listener that throws does not keep the process past T', async (t) => {
  const server = await start(t, { options: TIGHT, setup: ({ duck }) => duck.on('phase', () => { throw new Error('listener'); }) });
  server.signal();
  const end = await server.end();
  assert.ok(end.after < TIGHT.grace + 250);
});

test('the log tells the whole story in its order, and the report is its last line', async (t) => {
  const server = await start(t, {
    options: { ...BUDGET, window: 200 },
    setup: ({ duck, sleep }) => {
      duck.onDrain('consumer', () => {});
      duck.onClose('pool', () => sleep(1200));
    },
  });
  const conns = [await connect(server.port), await connect(server.port)];
  const answers = [conns[0].request('/slow?ms=1400'), conns[1].request('/slow?ms=2200')];
  await server.event('slow', () => server.names().filter((name) => name === 'slow').length === 2);
  server.signal();
  for (const answer of answers) assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  const lines = end.stderr.trim().split('\n').map((line) => line.replace('lameduck: ', ''));
  // On a busy machine there is time for a second line of what is waited for.
  const isRepeated = (line, number) => line.startsWith('waiting') && lines[number - 1].startsWith('waiting');
  const from = lines.findIndex((line) => line.startsWith('stopping'));
  const story = lines.filter((line, number) => number >= from && !isRepeated(line, number));
  const expected = [
    /^stopping: SIGTERM \(terminate\); 2 requests on 2 connections; readiness fails from now on; drain deadline after 4\.5s, gone after 5\.5s at the latest$/,
    /^window begins: serving on for 200ms$/,
    /^drain hook 'consumer' ended after \d+ms$/,
    /^window ended after [\d.]+m?s: its time is over; 2 requests on 2 connections$/,
    new RegExp(`^listener 127\\.0\\.0\\.1:${server.port} (not )?fenced`),
    new RegExp(`^listener 127\\.0\\.0\\.1:${server.port} closed$`),
    /^waiting for 1 request(, 1 idle connection)?; oldest GET \/slow, [\d.]+s; at most [\d.]+s more$/,
    /^closing after [\d.]+s: every request has its verdict$/,
    /^close hook 'pool' is still running after [\d.]+s$/,
    /^close hook 'pool' ended after [\d.]+s$/,
    /^done in [\d.]+s, exit code 0: 2 completed, 0 client gone, 0 refused, 0 ended, 0 forced$/,
    /^report \{.*\}$/,
  ];
  assert.equal(story.length, expected.length, end.stderr);
  for (const [number, pattern] of expected.entries()) assert.match(story[number], pattern);
});

test('the log says where a hook failed, and what was waiting at the drain deadline', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    setup: ({ duck }) => duck.onDrain('broken', function mend() { throw new Error('no consumer'); }),
  });
  const conn = await connect(server.port);
  conn.request('/stuck').catch(() => {});
  await server.event('stuck');
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assert.match(end.stderr, /^lameduck: drain hook 'broken' threw: Error: no consumer\n +at .*mend/m);
  assert.match(end.stderr, /^lameduck: drain hook 'broken' failed after \d+ms: no consumer$/m);
  assert.match(end.stderr, /^lameduck: drain deadline after 1\.4s: still waiting for 1 request: GET \/stuck from 127\.0\.0\.1:\d+ \(http1, \w+, unanswered\), [\d.]+s$/m);
  assert.match(end.stderr, /^lameduck: done in .*exit code 1.*; lost: .*1 request was cut at the drain deadline/m);
});

test('the log says that a signal was heard late, and by how much', async (t) => {
  const server = await start(t, { options: { ...BUDGET, window: 1500 } });
  const conn = await connect(server.port);
  conn.write(head('/block?ms=700'));
  await server.event('block');
  server.signal();
  const end = await server.end();
  assert.match(end.stderr, /^lameduck: stopping: SIGTERM \(terminate\), heard \d+ms late: the event loop was blocked; 1 request on 1 connection; .* drain deadline after 4\.5s/m);
  assert.match(end.stderr, /^lameduck: window begins: serving on for 1\.5s$/m);
});
