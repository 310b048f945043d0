// Workers and queues of BullMQ: no job is lost, none is done twice.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertReport, hook } from '../../bindings/node/test/support/report.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly } from '../../bindings/node/test/support/server.mjs';
import { start as startRedis } from '../databases/redis.mjs';
import { begin, hooks, start, stopUnderRequests } from './support.mjs';

let db;
before(async () => (db = await startRedis()));
after(() => db.kill());

/** Each request adds a job, each job takes `takes` milliseconds and counts itself. */
const setup = ({ require, resources, duck, say, sleep }, { port, takes, queue }) => {
  const { FlowProducer, Queue, QueueEvents, Worker } = require('bullmq');
  const connection = { port, host: '127.0.0.1' };
  const { bullmq } = resources;
  const jobs = new Queue(queue, { connection });
  const events = new QueueEvents(queue, { connection });
  const flows = new FlowProducer({ connection });
  for (const client of [jobs, events, flows]) client.on('error', () => {});
  const worker = new Worker(queue, async ({ id }) => {
    say('begun', { id });
    await sleep(takes);
    say('done', { id });
  }, { connection, concurrency: 2 });
  worker.on('error', () => {});
  for (const client of [jobs, events, flows, worker]) duck.use(bullmq(client));
  return async (ms) => {
    await sleep(ms);
    const { id } = await jobs.add('mail', {});
    say('added', { id });
    return id;
  };
};

const ids = (server, event) => server.events.filter((one) => one.event === event).map(({ id }) => id).sort((a, b) => a - b);

/** Ids of the jobs of a queue in a state. */
const inState = async (queue, state) => {
  const ask = state === 'completed' ? ['ZRANGE', `bull:${queue}:completed`, '0', '-1'] : ['LRANGE', `bull:${queue}:${state}`, '0', '-1'];
  return (await db.command(...ask)).split('\n').filter(Boolean).sort((a, b) => a - b);
};

test('jobs that run are done before the exit, jobs that wait are left to others, none runs twice', async (t) => {
  const given = { port: db.port, takes: 1000, queue: 'restarted' };
  const first = await start(t, setup, given);
  await begin(first);
  await stopUnderRequests(first, /^\d+$/);
  const end = await first.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assert.deepEqual(hooks(end.report), [
    'bullmq flow producer close ok',
    'bullmq queue events restarted close ok',
    'bullmq queue restarted close ok',
    'bullmq worker restarted close ok',
    'bullmq worker restarted drain ok',
  ]);
  assert.equal(await db.connections(), 0);
  const added = ids(first, 'added');
  const done = ids(first, 'done');
  assert.ok(done.length > 0, 'no job was under way: this proves nothing');
  assert.deepEqual(ids(first, 'begun'), done, 'a job was cut');
  assert.deepEqual(await inState('restarted', 'active'), []);
  assert.deepEqual(await inState('restarted', 'completed'), done);
  const left = added.filter((id) => !done.includes(id));
  assert.ok(left.length > 0, 'nothing was left for another worker: this proves less than it should');
  const began = new Map(first.events.filter(({ event }) => event === 'begun').map(({ id, at }) => [id, at]));
  for (const [id, at] of began) assert.ok(at < first.signalled + 200, `job ${id} was taken ${at - first.signalled} ms after the signal`);

  const second = await start(t, setup, { ...given, takes: 1 });
  await second.event('done', () => ids(second, 'done').length === left.length);
  second.signal();
  assertReport(await second.end(), 0);
  assert.deepEqual(ids(second, 'done'), left);
  assert.deepEqual(await inState('restarted', 'completed'), added);
  assert.equal(await db.connections(), 0);
});

test('a job that never ends is given up at the drain deadline and named', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 60_000, queue: 'stuck' }, { options: TIGHT });
  await begin(server);
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assert.ok(end.report.lost.some((line) => line.startsWith("drain hook 'bullmq worker stuck' did not end")), `${end.report.lost}`);
});

test('a Redis that hangs delays nobody beyond the deadline', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 1, queue: 'hung' }, { options: TIGHT });
  await begin(server);
  await server.event('done');
  db.freeze();
  try {
    server.signal();
    const end = await server.end();
    assertReport(end, 1);
    assertGoneByT(end, TIGHT);
    assert.equal(hook(end.report, 'bullmq queue hung').result, 'timed_out');
  } finally {
    db.thaw();
  }
  assert.equal(await db.connections(), 0);
});

// The last: it costs the Redis.
test('a Redis that is dead holds nothing up', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 1, queue: 'dead' });
  await begin(server);
  await server.event('done');
  await db.kill();
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET, 3500);
});
