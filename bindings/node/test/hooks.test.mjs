// Clean-up in three stages, in order, each hook on its own: one that fails or hangs costs nobody else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, start } from './support/server.mjs';
import { assertNames, assertReport, hook } from './support/report.mjs';

test('drain hooks run at once, close hooks after the last request, flush hooks last', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, route, sleep }) => {
      duck.onFlush('logs', () => say('hook', { name: 'flush' }));
      duck.onClose('pool', async () => {
        await sleep(100);
        say('hook', { name: 'close' });
      });
      duck.onDrain('consumer', () => say('hook', { name: 'drain' }));
      route('/order', async (_req, res) => {
        say('order');
        await sleep(700);
        say('hook', { name: 'answered' });
        res.end();
      });
    },
  });
  const conn = await connect(server.port);
  const answer = conn.request('/order');
  await server.event('order');
  server.signal();
  const drained = await server.event('hook');
  assert.ok(drained.at - server.signalled < 250, 'the drain hook waited');
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  const order = server.events.filter(({ event }) => event === 'hook').map(({ name }) => name);
  assert.deepEqual(order, ['drain', 'answered', 'close', 'flush']);
});

test('lower order first, equal order together', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, sleep }) => {
      const hook = (name) => async () => {
        say('hook', { name: `${name}+` });
        await sleep(100);
        say('hook', { name: `${name}-` });
      };
      duck.onClose('last', hook('last'), { order: 20 });
      duck.onClose('a', hook('a'), { order: 10 });
      duck.onClose('b', hook('b'), { order: 10 });
      duck.onClose('first', hook('first'), { order: -5 });
    },
  });
  server.signal();
  assertReport(await server.end(), 0);
  const order = server.events.filter(({ event }) => event === 'hook').map(({ name }) => name).join(' ');
  assert.equal(order, 'first+ first- a+ b+ a- b- last+ last-');
});

for (const [how, fail] of [
  ['throws', () => { throw new Error('pool is broken'); }],
  ['rejects', async () => { throw new Error('pool is broken'); }],
]) {
  test(`a hook that ${how} is recorded, the others run, exit 1`, async (t) => {
    const server = await start(t, {
      setup: `({ duck, say }) => {
        duck.onClose('broken', ${fail}, { order: 1 });
        duck.onClose('fine', () => say('hook', { name: 'fine' }), { order: 2 });
        duck.onFlush('logs', () => say('hook', { name: 'logs' }));
      }`,
    });
    server.signal();
    const end = await server.end();
    assertReport(end, 1);
    assertGoneEarly(end, BUDGET);
    assert.deepEqual(server.events.filter(({ event }) => event === 'hook').map(({ name }) => name), ['fine', 'logs']);
    assertNames(end.report, /broken/, /pool is broken/);
    assert.notEqual(hook(end.report, 'broken').result, hook(end.report, 'fine').result);
  });
}

test("a hook's own timeout abandons it and goes on", async (t) => {
  const server = await start(t, {
    setup: ({ duck, say }) => {
      duck.onClose('slow', () => new Promise(() => {}), { order: 1, timeout: '150ms' });
      duck.onClose('next', () => say('hook', { name: 'next' }), { order: 2 });
    },
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneEarly(end, BUDGET, 2000);
  assert.ok(server.saw('hook'));
  assertNames(end.report, /slow/);
});

test('a hook registered in Closing is refused with a clear error; what was registered goes on', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say }) => {
      duck.onClose('early', () => {
        try {
          duck.onClose('late', () => say('hook', { name: 'late' }));
          say('accepted');
        } catch (error) {
          say('refused', { message: error.message });
        }
      });
    },
  });
  server.signal();
  const { message } = await server.event('refused');
  assert.match(message, /late|hook/i);
  assert.match(message, /closing/i);
  assertReport(await server.end(), 0);
  assert.ok(!server.saw('hook'));
});

for (const [stage, on] of [['drain', 'onDrain'], ['close', 'onClose'], ['flush', 'onFlush']]) {
  test(`a ${stage} hook that calls shutdown changes nothing; one that awaits it does not deadlock`, async (t) => {
    const server = await start(t, {
      options: TIGHT,
      setup: `({ duck, say }) => {
        duck.${on}('calls', () => { duck.shutdown({ cause: 'again' }); });
        duck.${on}('awaits', async () => { await duck.shutdown({ cause: 'again' }); });
        duck.onFlush('logs', () => say('hook', { name: 'logs' }));
      }`,
    });
    server.signal();
    const end = await server.end();
    assertGoneByT(end, TIGHT);
    assert.ok(end.report, end.stderr);
    assert.ok(server.saw('hook'), 'the flush hook did not run');
    assert.equal(server.events.filter(({ event }) => event === 'report').length, 1);
  });
}

test('bad registrations are refused at once', async (t) => {
  const server = await start(t);
  await assert.rejects(server.run(({ duck }) => duck.onClose('pool')), { name: 'TypeError' });
  await assert.rejects(server.run(({ duck }) => duck.onClose(() => {})), { name: 'TypeError' });
  await assert.rejects(server.run(({ duck }) => duck.onClose('pool', () => {}, { ordre: 1 })), { name: 'TypeError', message: /ordre/ });
  await assert.rejects(server.run(({ duck }) => duck.onClose('pool', () => {}, { timeout: -1 })), { name: 'RangeError', message: /timeout/ });
  await assert.rejects(server.run(({ duck }) => duck.onClose('pool', () => {}, { order: 1.5 })), { message: /order/ });
});
