// What every client of a database has to hold, whichever it is.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertReport, assertVerdict, hook } from '../../bindings/node/test/support/report.mjs';
import { request } from '../../bindings/node/test/support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly } from '../../bindings/node/test/support/server.mjs';
import { hooks, start, stopUnderRequests } from './support.mjs';

/**
 * The tests of one helper.
 *
 * - `database()`: starts the database
 * - `setup(ctx, { port })`: in the server, makes a client and uses it; returns `ask(ms)`, with a property `close` by which the program itself
 *   closes the client
 */
export function suite(helper, database, setup) {
  const twice = `async (ctx, given) => {
    const ask = await (${setup})(ctx, given);
    if (given.close === 'hook') ctx.duck.onClose('mine', ask.close, { order: -1 });
    if (given.close === 'together') ctx.duck.onClose('mine', ask.close);
    return ask;
  }`;
  serverSuite(helper, database, (t, given, options) => start(t, twice, given, options), { closed: [helper], hanging: [helper] });
}

/**
 * The tests of a server, however it is started: `begin(t, { port, close }, { options })`. `closed` are the hooks that its report names,
 * `hanging` those that do not end when the database hangs.
 */
export function serverSuite(name, database, begin, { closed, hanging }) {
  let db;
  before(async () => (db = await database()));
  after(() => db?.kill());
  const ok = (...names) => [...closed, ...names].map((one) => `${one} close ok`).sort();

  test(`${name}: requests in flight and in the window are answered, and the database has no connection left`, async (t) => {
    const server = await begin(t, { port: db.port });
    await stopUnderRequests(server);
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET);
    assert.deepEqual(hooks(end.report), ok());
    assert.equal(await db.connections(), 0);
  });

  for (const [close, when] of [['hook', 'before'], ['together', 'at the same time']]) {
    test(`${name}: a client that the program closes itself, ${when}, is no failure`, async (t) => {
      const server = await begin(t, { port: db.port, close });
      await stopUnderRequests(server);
      const end = await server.end();
      assertReport(end, 0);
      assert.deepEqual(hooks(end.report), ok('mine'));
      assert.equal(await db.connections(), 0);
    });
  }

  test(`${name}: a database that hangs delays nobody beyond the deadline, and the report names it`, async (t) => {
    const server = await begin(t, { port: db.port }, { options: TIGHT });
    assert.equal((await request(server.port, '/ask?ms=1')).text, 'ok');
    db.freeze();
    try {
      const answer = request(server.port, '/ask?ms=1');
      await server.event('asked', () => server.events.filter(({ event }) => event === 'asked').length === 2);
      server.signal();
      assert.equal((await answer).status, 503);
      const end = await server.end();
      assertReport(end, 1);
      assertGoneByT(end, TIGHT);
      assertVerdict(end.report, 'forced', 1);
      for (const one of hanging) {
        assert.equal(hook(end.report, one).result, 'timed_out');
        assert.ok(end.report.lost.some((line) => line.includes(`close hook '${one}' did not end`)), `${end.report.lost}`);
      }
    } finally {
      db.thaw();
    }
    assert.equal(await db.connections(), 0);
  });

  // The last: it costs the database.
  test(`${name}: a database that is dead holds nothing up`, async (t) => {
    const server = await begin(t, { port: db.port });
    assert.equal((await request(server.port, '/ask?ms=1')).text, 'ok');
    await db.kill();
    server.signal();
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET, 2500);
    assert.deepEqual(hooks(end.report), ok());
  });
}
