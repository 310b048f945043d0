// A connection of aio-pika.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertReport } from '../../bindings/node/test/support/report.mjs';
import { consumerSuite, numbers } from './consumer-suite.mjs';
import { servers } from './python.mjs';
import { begin, stopUnderRequests } from './support.mjs';

const start = servers('rabbitmq');

const more = (db) => test('a connection that was lost and found again is drained as any other; who consumes while draining gets nothing', async (t) => {
  const server = await start(t, { port: db().port, takes: 500, queue: 'lost', late: true });
  assert.match((await server.event('refused')).message, /^lameduck: use\(\) comes before the first channel/);
  await db().cut();
  await server.event('reconnected');
  await begin(server);
  await stopUnderRequests(server, /^\d+$/);
  assertReport(await server.end(), 0);
  const [published, done] = [numbers(server, 'published'), numbers(server, 'done')];
  assert.ok(done.length > 0, 'no message was under way: this proves nothing');
  assert.deepEqual(numbers(server, 'begun'), done, 'a message was cut');
  assert.deepEqual((await db().queues()).lost, { ready: published.length - done.length, unacknowledged: 0, consumers: 0 });
  const late = server.names().indexOf('late');
  assert.ok(late > 0 && !server.names().includes('begun', late), `${server.names()}`);
});

consumerSuite('aio_pika.RobustConnection', start, { others: ['lifespan close ok'], more });
