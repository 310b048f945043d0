// What every client of a broker has to hold: what was delivered is acknowledged, what was published is there.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { request } from '../../bindings/node/test/support/client.mjs';
import { assertReport, hook } from '../../bindings/node/test/support/report.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep } from '../../bindings/node/test/support/server.mjs';
import { start as startRabbit } from '../databases/rabbitmq.mjs';
import { begin, hooks, stopUnderRequests } from './support.mjs';

export const numbers = (server, event) => server.events.filter((one) => one.event === event).map(({ number }) => number).sort((a, b) => a - b);

/**
 * The tests of one client. `start(t, { port, takes, queue, close }, { options })` starts a server of which each request publishes a message
 * and answers its number; a message takes `takes` milliseconds, and the server says `published`, `begun` and `done` with its number. It has one
 * consumer if `lone`, else as many as it likes. `name` is what the report calls the client's hooks, `others` are the hooks that there are
 * besides. `more(db)` are tests of its own.
 */
export function consumerSuite(name, start, { others = [], more = () => {} } = {}) {
  let db;
  before(async () => (db = await startRabbit()));
  after(() => db?.kill());
  const ok = (...mine) => [`${name} drain ok`, `${name} close ok`, ...others, ...mine].sort();

  test(`${name}: messages that were delivered are acknowledged, the others stay in the queue, and none is delivered twice`, async (t) => {
    const server = await start(t, { port: db.port, takes: 1000, queue: 'restarted' });
    await begin(server);
    await stopUnderRequests(server, /^\d+$/);
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET);
    assert.deepEqual(hooks(end.report), ok());
    const [published, done] = [numbers(server, 'published'), numbers(server, 'done')];
    assert.ok(done.length > 0, 'no message was under way: this proves nothing');
    assert.deepEqual(numbers(server, 'begun'), done, 'a message was cut');
    assert.deepEqual(done, [...new Set(done)]);
    const { restarted } = await db.queues();
    assert.deepEqual(restarted, { ready: published.length - done.length, unacknowledged: 0, consumers: 0 });
    assert.ok(restarted.ready > 0, 'nothing was left in the queue: this proves less than it should');
    assert.equal(await db.connections(), 0);

    const second = await start(t, { port: db.port, takes: 1, queue: 'restarted' });
    await second.event('done', () => numbers(second, 'done').length === restarted.ready);
    second.signal();
    assertReport(await second.end(), 0);
    assert.deepEqual([...done, ...numbers(second, 'done')].sort((a, b) => a - b), published);
    assert.equal((await db.queues()).restarted.ready, 0);
  });

  test(`${name}: messages that come while the consumers are being cancelled are handled to the end`, async (t) => {
    const server = await start(t, { port: db.port, takes: 500, queue: 'crossed', lone: true });
    await Promise.all(Array.from({ length: 12 }, () => request(server.port, '/ask?ms=0')));
    await server.event('begun');
    // What is acknowledged and that nothing more is wanted the broker reads together: it delivers between the two.
    db.freeze();
    const before = numbers(server, 'begun').length;
    await server.event('done', () => numbers(server, 'done').length === before);
    await sleep(100);
    server.signal();
    await sleep(200);
    db.thaw();
    assertReport(await server.end(), 0);
    const [begun, done] = [numbers(server, 'begun'), numbers(server, 'done')];
    assert.ok(begun.length > before, 'no message came: this proves nothing');
    assert.deepEqual(begun, done, 'a message was cut');
    assert.deepEqual((await db.queues()).crossed, { ready: 12 - done.length, unacknowledged: 0, consumers: 0 });
  });

  test(`${name}: a connection that the program closes itself is no failure`, async (t) => {
    const server = await start(t, { port: db.port, takes: 10, queue: 'mine', close: true });
    await stopUnderRequests(server, /^\d+$/);
    const end = await server.end();
    assertReport(end, 0);
    assert.deepEqual(hooks(end.report), ok('mine close ok'));
    assert.equal(await db.connections(), 0);
  });

  test(`${name}: a message that nobody acknowledges holds the drain up to its deadline, is named, and goes back to the queue`, async (t) => {
    const server = await start(t, { port: db.port, takes: 60_000, queue: 'stuck' }, { options: TIGHT });
    await begin(server);
    server.signal();
    const end = await server.end();
    assertReport(end, 1);
    assertGoneByT(end, TIGHT);
    assert.ok(end.report.lost.some((line) => line.startsWith(`drain hook '${name}' did not end`)), `${end.report.lost}`);
    assert.equal(await db.connections(), 0);
    assert.deepEqual((await db.queues()).stuck, { ready: 6, unacknowledged: 0, consumers: 0 });
  });

  test(`${name}: a broker that hangs delays nobody beyond the deadline`, async (t) => {
    const server = await start(t, { port: db.port, takes: 1, queue: 'hung' }, { options: TIGHT });
    db.freeze();
    try {
      server.signal();
      const end = await server.end();
      assertReport(end, 1);
      assertGoneByT(end, TIGHT);
      assert.equal(hook(end.report, name).result, 'timed_out');
    } finally {
      db.thaw();
    }
    assert.equal(await db.connections(), 0);
  });

  more(() => db);

  // The last: it costs the broker.
  test(`${name}: a broker that is dead holds nothing up`, async (t) => {
    const server = await start(t, { port: db.port, takes: 1, queue: 'dead' });
    await db.kill();
    server.signal();
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET, 2500);
  });
}
