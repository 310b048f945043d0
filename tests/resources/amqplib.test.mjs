// Consumers and publishers of RabbitMQ.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertReport } from '../../bindings/node/test/support/report.mjs';
import { start as startServer } from '../../bindings/node/test/support/server.mjs';
import { consumerSuite } from './consumer-suite.mjs';
import { start } from './support.mjs';

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

const refusals = (db) => test('a connection that has a channel is refused, and so is a consumer that comes while draining', async (t) => {
  const server = await startServer(t, {
    env: { FIXTURE_PACKAGES: import.meta.url },
    setup: `async ({ require, resources, duck, say }) => {
      const amqp = require('amqplib');
      const used = await amqp.connect('amqp://127.0.0.1:${db().port}');
      const channel = await used.createChannel();
      try {
        resources.amqplib(used);
      } catch ({ name, message }) {
        say('refused', { name, message });
      }
      await used.close();
      const connection = await amqp.connect('amqp://127.0.0.1:${db().port}');
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

consumerSuite('amqplib', (t, given, options) => start(t, setup, given, options), { more: refusals });
