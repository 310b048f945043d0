// Consumers and publishers of RabbitMQ: what was delivered is acknowledged, what was published is there.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertReport, hook } from '../../bindings/node/test/support/report.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, start as startServer } from '../../bindings/node/test/support/server.mjs';
import { start as startRabbit } from '../databases/rabbitmq.mjs';
import { begin, hooks, start, stopUnderRequests } from './support.mjs';

let db;
before(async () => (db = await startRabbit()));
after(() => db.kill());

/** Each request publishes a message, confirmed or not by turns; each message takes `takes` milliseconds. */
const setup = async ({ require, resources, duck, say, sleep }, { port, takes, queue, close }) => {
  const connection = await require('amqplib').connect(`amqp://127.0.0.1:${port}`);
  connection.on('error', () => {});
  duck.use(resources.amqplib(connection));
  if (close) duck.onClose('mine', () => connection.close(), { order: -1 });
  const consumer = await connection.createChannel();
  await consumer.assertQueue(queue);
  await consumer.prefetch(3);
  await consumer.consume(queue, async (message) => {
    const number = Number(message.content);
    say('begun', { number });
    await sleep(takes);
    say('done', { number });
    if (number % 3 === 0) consumer.ack(message, false);
    else if (number % 3 === 1) consumer.reject(message, false);
    else consumer.nack(message, false, false);
  });
  const publishers = [await connection.createChannel(), await connection.createConfirmChannel()];
  let n = 0;
  return async (ms) => {
    await sleep(ms);
    const number = n++;
    publishers[number % 2].sendToQueue(queue, Buffer.from(`${number}`));
    say('published', { number });
    return number;
  };
};

const numbers = (server, event) => server.events.filter((one) => one.event === event).map(({ number }) => number).sort((a, b) => a - b);

test('messages that were delivered are acknowledged, the others stay in the queue, and none is delivered twice', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 1000, queue: 'restarted' });
  await begin(server);
  await stopUnderRequests(server, /^\d+$/);
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
  assert.deepEqual(hooks(end.report), ['amqplib close ok', 'amqplib drain ok']);
  const [published, done] = [numbers(server, 'published'), numbers(server, 'done')];
  assert.ok(done.length > 0, 'no message was under way: this proves nothing');
  assert.deepEqual(numbers(server, 'begun'), done, 'a message was cut');
  assert.deepEqual(done, [...new Set(done)]);
  const { restarted } = await db.queues();
  assert.deepEqual(restarted, { ready: published.length - done.length, unacknowledged: 0, consumers: 0 });
  assert.ok(restarted.ready > 0, 'nothing was left in the queue: this proves less than it should');
  assert.equal(await db.connections(), 0);

  const second = await start(t, setup, { port: db.port, takes: 1, queue: 'restarted' });
  await second.event('done', () => numbers(second, 'done').length === restarted.ready);
  second.signal();
  assertReport(await second.end(), 0);
  assert.deepEqual([...done, ...numbers(second, 'done')].sort((a, b) => a - b), published);
  assert.equal((await db.queues()).restarted.ready, 0);
});

test('a connection that the program closes itself is no failure', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 10, queue: 'mine', close: true });
  await stopUnderRequests(server, /^\d+$/);
  const end = await server.end();
  assertReport(end, 0);
  assert.deepEqual(hooks(end.report), ['amqplib close ok', 'amqplib drain ok', 'mine close ok']);
  assert.equal(await db.connections(), 0);
});

test('a message that nobody acknowledges holds the drain up to its deadline, is named, and goes back to the queue', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 60_000, queue: 'stuck' }, { options: TIGHT });
  await begin(server);
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assert.ok(end.report.lost.some((line) => line.startsWith("drain hook 'amqplib' did not end")), `${end.report.lost}`);
  assert.equal(await db.connections(), 0);
  assert.deepEqual((await db.queues()).stuck, { ready: 6, unacknowledged: 0, consumers: 0 });
});

test('a broker that hangs delays nobody beyond the deadline', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 1, queue: 'hung' }, { options: TIGHT });
  db.freeze();
  try {
    server.signal();
    const end = await server.end();
    assertReport(end, 1);
    assertGoneByT(end, TIGHT);
    assert.equal(hook(end.report, 'amqplib').result, 'timed_out');
  } finally {
    db.thaw();
  }
  assert.equal(await db.connections(), 0);
});

test('a connection that has a channel is refused, and so is a consumer that comes while draining', async (t) => {
  const server = await startServer(t, {
    env: { FIXTURE_PACKAGES: import.meta.url },
    setup: `async ({ require, resources, duck, say }) => {
      const amqp = require('amqplib');
      const used = await amqp.connect('amqp://127.0.0.1:${db.port}');
      const channel = await used.createChannel();
      try {
        resources.amqplib(used);
      } catch ({ name, message }) {
        say('refused', { name, message });
      }
      await used.close();
      const connection = await amqp.connect('amqp://127.0.0.1:${db.port}');
      duck.use(resources.amqplib(connection));
      const late = await connection.createChannel();
      await late.assertQueue('late');
      duck.onDrain('late', () => late.consume('late', () => {}).catch(({ name, message }) => say('late', { name, message })), { order: 1 });
    }`,
  });
  const { name, message } = await server.event('refused');
  assert.equal(name, 'TypeError');
  assert.match(message, /comes before the first channel/);
  server.signal();
  assert.match((await server.event('late')).message, /draining and consumes nothing from 'late'/);
  assertReport(await server.end(), 0);
});

// The last: it costs the broker.
test('a broker that is dead holds nothing up', async (t) => {
  const server = await start(t, setup, { port: db.port, takes: 1, queue: 'dead' });
  await db.kill();
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET, 2500);
});
