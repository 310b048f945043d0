// Wrong options are refused at once, by name, with the rule; nothing is attached by a refused call.
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { BUDGET, assertGoneByT, start } from './support/server.mjs';
import { assertReport } from './support/report.mjs';
import { lameduck } from './support/subject.mjs';

const attach = (options) => () => lameduck(http.createServer(), options);

for (const [name, options, expected] of [
  ['misspelt', { gracePeriod: 30_000 }, { name: 'TypeError', message: /gracePeriod/ }],
  ['misspelt: the nearest is proposed', { windw: 1000 }, { name: 'TypeError', message: /windw[^]*window/ }],
  ['misspelt within health', { health: { readyPth: '/readyz' } }, { name: 'TypeError', message: /readyPth/ }],
  ['wrong type', { grace: true }, { name: 'TypeError', message: /grace/ }],
  ['wrong type: null', { window: null }, { name: 'TypeError', message: /window/ }],
  ['not a time', { grace: 'soon' }, { name: /TypeError|RangeError/, message: /grace[^]*soon/ }],
  ['a time without its unit', { grace: '30' }, { name: /TypeError|RangeError/, message: /grace/ }],
  ['negative', { window: -1 }, { name: 'RangeError', message: /window/ }],
  ['negative text', { window: '-1s' }, { name: /TypeError|RangeError/, message: /window/ }],
  ['NaN', { grace: NaN }, { name: /TypeError|RangeError/, message: /grace/ }],
  ['Infinity', { quiet: Infinity }, { name: /TypeError|RangeError/, message: /quiet/ }],
  ['seconds taken for milliseconds', { grace: 30 }, { name: 'RangeError', message: /30 means 30 ms; write 30_000 or '30s'/ }],
  ['contradictory', { grace: '30s', window: '20s', reserve: '15s', margin: '1s' }, { name: 'RangeError', message: /window 20s \+ reserve 15s exceeds grace 30s − margin 1s/ }],
  ['margin beyond grace', { grace: '2s', margin: '3s' }, { name: 'RangeError', message: /margin/ }],
  ['newRequests', { newRequests: 'maybe' }, { name: /TypeError|RangeError/, message: /newRequests[^]*serve[^]*refuse/ }],
  ['readiness', { readiness: 'maybe' }, { name: /TypeError|RangeError/, message: /readiness[^]*fail[^]*keep/ }],
  ['an unknown signal', { signals: ['SIGTREM'] }, { name: /TypeError|RangeError/, message: /SIGTREM/ }],
  ['a signal that cannot be caught', { signals: ['SIGKILL'] }, { name: /TypeError|RangeError/, message: /SIGKILL/ }],
  ['signals not a list', { signals: 'SIGTERM' }, { name: 'TypeError', message: /signals/ }],
  ['a path that is none', { health: { readyPath: 'readyz' } }, { name: /TypeError|RangeError/, message: /readyPath/ }],
  ['a check that is no function', { health: { readyPath: '/r', checks: { db: 'up' } } }, { name: 'TypeError', message: /db/ }],
  ['exit', { exit: 'yes' }, { name: 'TypeError', message: /exit/ }],
  ['logger', { logger: 'console' }, { name: 'TypeError', message: /logger/ }],
  ['options not an object', 30_000, { name: 'TypeError', message: /options/ }],
]) {
  test(`refused: ${name}`, () => {
    const before = ['SIGTERM', 'SIGINT', 'uncaughtException'].map((event) => process.listenerCount(event));
    assert.throws(attach(options), expected);
    assert.deepEqual(['SIGTERM', 'SIGINT', 'uncaughtException'].map((event) => process.listenerCount(event)), before, 'the refused call left a listener behind');
  });
}

for (const [name, value] of [['nothing', undefined], ['a port', 3000], ['an Express application', Object.assign(() => {}, { listen() {} })], ['a plain object', {}]]) {
  test(`refused: ${name} instead of a server`, () => assert.throws(() => lameduck(value), { name: 'TypeError', message: /server/ }));
}

test('a refused call changes nothing: the same server can be attached afterwards', async (t) => {
  const server = await start(t, {
    listen: false,
    setup: ({ lameduck, http, say }) => {
      const other = http.createServer();
      try {
        lameduck(other, { grace: 30 });
      } catch (error) {
        say('refused', { message: error.message });
      }
      lameduck(other, { grace: 2000, signals: [] });
    },
  });
  assert.ok(server.saw('refused'));
});

test('times as text and numbers mean the same', async (t) => {
  const server = await start(t, { options: { grace: '1.5s', margin: '200ms', reserve: '0.3s', window: '100ms', quiet: 150 } });
  const conn = await connect(server.port);
  conn.request('/stuck').catch(() => {});
  await server.event('stuck');
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, { grace: 1500, margin: 200, reserve: 300 });
  assert.ok(end.after > 900, `gone after ${end.after} ms`);
});

test('a short grace alone just works: the rest shrinks to fit (PM2: 1.6 s)', async (t) => {
  const server = await start(t, { options: { grace: 1600 } });
  const conn = await connect(server.port);
  const answer = conn.request('/slow?ms=500');
  await server.event('slow');
  server.signal();
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  assert.ok(end.after < 1600, `gone after ${end.after} ms`);
});

test('the environment beats the code', async (t) => {
  const server = await start(t, { options: { grace: 20_000 }, env: { LAMEDUCK_GRACE: '1.5' } });
  const conn = await connect(server.port);
  conn.request('/stuck').catch(() => {});
  await server.event('stuck');
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assert.ok(end.after < 1750, `gone after ${end.after} ms`);
});

test('a wrong value in the environment is refused by name', async (t) => {
  await assert.rejects(start(t, { options: BUDGET, env: { LAMEDUCK_GRACE: 'soon' } }), /LAMEDUCK_GRACE/);
});
