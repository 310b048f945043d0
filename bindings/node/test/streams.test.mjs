// What is in flight on an HTTP/2 session while serving, and that all of it is handed over.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { test } from 'node:test';
import { connect, request } from './support/http2.mjs';
import { BUDGET, start } from './support/server.mjs';
import { assertReport, assertVerdict } from './support/report.mjs';

/** A Node that keeps the streams of a session where nobody finds them. */
const HIDDEN = `data:text/javascript,${encodeURIComponent(`
  const all = Object.getOwnPropertySymbols;
  Object.getOwnPropertySymbols = (of) => all(of).filter(({ description }) => description !== 'state');
`)}`;

/** The text of the answer. */
const ask = async (session, path) => (await request(session, path)).text;

const counts = (server) => server.run(({ duck }) => {
  const { requests, idle_connections: idle, oldest } = duck.blockers();
  return { requests, idle, labels: oldest.map(({ label }) => label).toSorted() };
});

for (const [where, env] of [["Node's own map", {}], ['a map of ours', { NODE_OPTIONS: `--import=${HIDDEN}` }]]) {
  test(`streams are counted in ${where}: begun, answered, reset, pushed`, async (t) => {
    const server = await start(t, {
      http2: true,
      env,
      setup: ({ route, server }) => {
        server.on('session', (session) => session.on('stream', () => {}));
        route('/push', (_req, res) => res.createPushResponse({ ':path': '/pushed' }, (error, pushed) => {
          if (error) throw error;
          pushed.write('pushed');
          res.end('answer');
        }));
      },
    });
    const session = await connect(t, server.port);
    assert.deepEqual(await counts(server), { requests: 0, idle: 1, labels: [] });
    const reset = session.request({ ':path': '/stuck' }).on('error', () => {});
    const answer = ask(session, '/slow?ms=400');
    await Promise.all([server.event('stuck'), server.event('slow')]);
    assert.deepEqual(await counts(server), { requests: 2, idle: 0, labels: ['GET /slow', 'GET /stuck'] });
    assert.equal(await answer, 'slow');
    reset.close(http2.constants.NGHTTP2_CANCEL);
    await once(reset, 'close');
    // What a server pushes is no request; this one stays open.
    session.on('stream', (pushed) => pushed.on('error', () => {}));
    assert.equal(await ask(session, '/push'), 'answer');
    assert.deepEqual(await counts(server), { requests: 0, idle: 1, labels: [] });
    const late = [ask(session, '/slow?ms=300'), ask(session, '/slow?ms=500')];
    await server.event('slow');
    await counts(server);
    server.signal();
    assert.deepEqual(await Promise.all(late), ['slow', 'slow']);
    const end = await server.end();
    assertReport(end, 0);
    assertVerdict(end.report, 'completed', 2);
  });
}

test('a stream that was parsed and is not handed out yet at the request to stop is served and told by its name', async (t) => {
  const server = await start(t, {
    http2: true,
    options: { ...BUDGET, window: 0 },
    setup: async ({ route, duck, say, server, listen, require }) => {
      // A socket that is made in JavaScript, as of a proxy protocol: what it reads in one turn is parsed before anything is handed out.
      const { Duplex } = require('node:stream');
      const through = require('node:net').createServer((raw) => server.emit('connection', Duplex.from({ readable: raw, writable: raw })));
      say('through', { port: await listen(through) });
      let first = true;
      route('/twice', (_req, res) => {
        if (first) {
          first = false;
          duck.shutdown();
          say('asked', { waiting: duck.blockers().requests });
        }
        setTimeout(() => {
          say('late', { labels: duck.blockers().oldest.map(({ label }) => label) });
          res.end('served');
        }, 200);
      });
    },
  });
  const session = await connect(t, (await server.event('through')).port);
  const answers = [ask(session, '/twice'), ask(session, '/twice')];
  assert.deepEqual(await Promise.all(answers), ['served', 'served']);
  assert.equal((await server.event('asked')).waiting, 2);
  assert.deepEqual((await server.event('late')).labels, ['GET /twice', 'GET /twice']);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 2);
});

test('a session that was open before the server was attached is counted from its next stream on', async (t) => {
  const server = await start(t, {
    setup: async ({ http2, duck, listen, say }) => {
      const other = http2.createServer((_req, res) => setTimeout(() => res.end('late'), 300));
      say('other', { port: await listen(other) });
      other.once('request', () => duck.add(other));
    },
  });
  const session = await connect(t, (await server.event('other')).port);
  const first = ask(session, '/before');
  const second = first.then(() => ask(session, '/after'));
  assert.equal(await first, 'late');
  while ((await counts(server)).requests === 0);
  assert.deepEqual((await counts(server)).labels, ['GET /after']);
  server.signal();
  assert.equal(await second, 'late');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});
