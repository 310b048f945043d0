// `use` and what the helpers make of an object; with real clients of real databases they are tested in tests/resources.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { assertReport } from './support/report.mjs';
import { start } from './support/server.mjs';

test('a resource has its turn at each stage, by its order, and lasts until its promises have resolved', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, sleep, route }) => {
      const stage = (name) => async () => {
        await sleep(20);
        say('stage', { name });
      };
      duck.use({ name: 'cache', drain: stage('cache drain'), close: stage('cache close'), flush: stage('cache flush') });
      duck.use({ name: 'first', close: stage('first close') }, { order: -1 });
      route('/last', async (_req, res) => {
        say('asked');
        await sleep(500);
        say('stage', { name: 'answered' });
        res.end();
      });
    },
  });
  const conn = await connect(server.port);
  const answer = conn.request('/last');
  await server.event('asked');
  server.signal();
  assert.equal((await answer).status, 200);
  const end = await server.end();
  assertReport(end, 0);
  const stages = server.events.filter(({ event }) => event === 'stage').map(({ name }) => name);
  assert.deepEqual(stages, ['cache drain', 'answered', 'first close', 'cache close', 'cache flush']);
});

test('resources of one kind have names of their own, and a hook keeps its timeout', async (t) => {
  const server = await start(t, {
    setup: ({ duck }) => {
      const close = () => {};
      duck.use({ name: 'pg', close }).use({ name: 'pg', close }).use({ name: 'pg', close, drain: close });
      duck.use({ name: 'pg', close: () => new Promise(() => {}) }, { name: 'orders', timeout: '100ms' });
    },
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  const lines = end.report.hooks.map(({ name, stage, result }) => `${name} ${stage} ${result}`).sort();
  assert.deepEqual(lines, ['orders close timed_out', 'pg 2 close ok', 'pg 3 close ok', 'pg 3 drain ok', 'pg close ok']);
});

test('what is disposable is disposed of after the last request, asynchronously where it can be', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, resources }) => {
      class Session {
        async [Symbol.asyncDispose]() {
          say('disposed', { how: 'asynchronously', alive: this.alive });
        }
        [Symbol.dispose]() {
          say('disposed', { how: 'at once' });
        }
        alive = true;
      }
      duck.use(resources.disposable(new Session()));
      duck.use(resources.disposable({ [Symbol.dispose]: () => say('disposed', { how: 'at once' }) }));
    },
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  const how = server.events.filter(({ event }) => event === 'disposed').map(({ how, alive }) => `${how} ${alive}`).sort();
  assert.deepEqual(how, ['asynchronously true', 'at once undefined']);
  assert.deepEqual(end.report.hooks.map(({ name }) => name).sort(), ['Session', 'disposable']);
});

test('a timer stops when draining begins', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say, resources }) => {
      duck.use(resources.timer(setInterval(() => say('tick', { phase: duck.phase }), 10)));
    },
  });
  await server.event('tick');
  server.signal();
  assertReport(await server.end(), 0);
  const phases = server.events.filter(({ event }) => event === 'tick').map(({ phase }) => phase);
  assert.deepEqual([...new Set(phases)], ['serving']);
});

test('wrong objects are refused at once, with a sentence', async (t) => {
  const server = await start(t);
  const helpers = await server.run(({ resources }) => Object.keys(resources));
  assert.deepEqual(helpers.sort(), ['amqplib', 'bullmq', 'croner', 'disposable', 'ioredis', 'mongoose', 'mysql2', 'nodeCron', 'pg', 'redis', 'timer']);
  for (const helper of helpers) {
    for (const [source, shown] of [['{}', 'an object'], ['undefined', 'undefined'], ['null', 'null'], ["'redis://here'", "'redis://here'"], ['() => {}', '.*']]) {
      await assert.rejects(
        server.run(`({ resources }) => { resources.${helper}(${source}); }`),
        { name: 'TypeError', message: new RegExp(`^lameduck: ${helper}\\(\\) takes .+, not ${shown}$`) },
        `${helper}(${source})`,
      );
    }
  }
  const use = (given, message) => assert.rejects(server.run(`({ duck }) => { duck.use(${given}); }`), { name: 'TypeError', message });
  await use('{ query() {}, end() {} }', /^lameduck: use\(\) takes a resource, such as pg\(pool\)/);
  await use('undefined', /not undefined$/);
  await use("{ name: 'cache' }", /takes a resource/);
  await use("{ name: 'cache', close: 5 }", /takes a resource/);
  await use("{ name: 'cache', close() {} }, { ordre: 1 }", /unknown hook option 'ordre'/);
  await use("{ name: 'cache', close() {} }, { name: '' }", /a resource has a name/);
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assert.deepEqual(end.report.hooks, []);
});

test('while draining a resource that only closes is taken; one that would drain is refused and changes nothing', async (t) => {
  const server = await start(t, {
    setup: ({ duck, say }) => duck.onDrain('late', () => {
      duck.use({ name: 'closes', close: () => say('closed') });
      try {
        duck.use({ name: 'drains', drain: () => {}, close: () => say('wrong') });
      } catch ({ message }) {
        say('refused', { message });
      }
    }),
  });
  server.signal();
  assert.match((await server.event('refused')).message, /drain hook 'drains' comes too late: the process is draining/);
  assertReport(await server.end(), 0);
  assert.ok(server.saw('closed') && !server.saw('wrong'));
});
