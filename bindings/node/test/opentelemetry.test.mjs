// Metrics and the shutdown's span, through the real SDK of OpenTelemetry into its in-memory exporters.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, BatchSpanProcessor, InMemorySpanExporter } from '@opentelemetry/sdk-trace-base';
import { instrument } from '../opentelemetry.js';
import { connect } from './support/client.mjs';
import { serveInline } from './support/inline.mjs';

/** An SDK that keeps what it exported, also once it is shut down. */
function sdk() {
  const spans = [];
  const spanExporter = new InMemorySpanExporter();
  const exported = spanExporter.export.bind(spanExporter);
  spanExporter.export = (batch, done) => {
    spans.push(...batch);
    exported(batch, done);
  };
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new BatchSpanProcessor(spanExporter)] });
  const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  let last;
  const exportMetrics = metricExporter.export.bind(metricExporter);
  metricExporter.export = (batch, done) => {
    last = batch;
    exportMetrics(batch, done);
  };
  const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  return {
    spans,
    tracerProvider,
    meterProvider,
    shutdown: async () => {
      await tracerProvider.shutdown();
      await meterProvider.shutdown();
    },
    /** Name and value of each data point of the last export, by its attribute if it has one. */
    points: () => Object.fromEntries(last.scopeMetrics.flatMap(({ metrics }) => metrics.flatMap(({ descriptor, dataPoints }) => dataPoints.map(({ attributes, value }) => [[descriptor.name, ...Object.values(attributes)].join(' '), value])))),
    units: () => Object.fromEntries(last.scopeMetrics.flatMap(({ metrics }) => metrics.map(({ descriptor }) => [descriptor.name, descriptor.unit]))),
  };
}

test('metrics are observed when they are read', async (t) => {
  const { server, duck, port } = await serveInline(t);
  const telemetry = sdk();
  instrument(duck, telemetry);
  const conn = await connect(port);
  const asked = once(server, 'asked');
  const answer = conn.request('/slow?ms=300');
  await asked;
  await telemetry.meterProvider.forceFlush();
  const serving = telemetry.points();
  assert.equal(serving['lameduck.requests.in_flight'], 1);
  assert.equal(serving['lameduck.connections'], 1);
  assert.equal(serving['lameduck.ready'], 1);
  assert.deepEqual([serving['lameduck.phase serving'], serving['lameduck.phase draining']], [1, 0]);
  assert.deepEqual(telemetry.units(), {
    'lameduck.phase': '1',
    'lameduck.ready': '1',
    'lameduck.connections': '{connection}',
    'lameduck.requests.in_flight': '{request}',
    'lameduck.jobs': '{job}',
    'lameduck.shutdown.duration': 's',
    'lameduck.shutdown.requests': '{request}',
  });
  const stopped = duck.shutdown();
  await answer;
  await stopped;
  await telemetry.meterProvider.forceFlush();
  const done = telemetry.points();
  assert.equal(done['lameduck.shutdown.requests completed'], 1);
  assert.equal(done['lameduck.phase done'], 1);
  assert.equal(done['lameduck.ready'], 0);
  await telemetry.shutdown();
});

test('the shutdown is one span with its phases and hooks, and the SDK, shut down in a flush hook, exports it', async (t) => {
  const { server, duck, port } = await serveInline(t, { grace: '1500ms', margin: '200ms', reserve: '500ms' });
  const telemetry = sdk();
  instrument(duck, telemetry);
  duck.onDrain('consumer', () => {});
  duck.onClose('pool', () => Promise.reject(new Error('no pool')));
  let shut = false;
  duck.onFlush('telemetry', async () => {
    await telemetry.shutdown();
    shut = true;
  });
  const conn = await connect(port);
  const asked = once(server, 'asked');
  conn.request('/slow?ms=Infinity').catch(() => {});
  await asked;
  const report = await duck.shutdown({ cause: 'deploy' });
  assert.ok(shut, 'the SDK was shut down within the shutdown');
  assert.deepEqual(report.hooks.map(({ name, result }) => [name, result]), [['opentelemetry', 'ok'], ['consumer', 'ok'], ['pool', 'failed'], ['telemetry', 'ok']]);

  const [shutdown] = telemetry.spans.filter(({ name }) => name === 'lameduck shutdown');
  assert.deepEqual(shutdown.events.map(({ name }) => name), ['lameduck.draining', 'lameduck.forced', 'lameduck.closing']);
  const { attributes } = shutdown.events[1];
  assert.deepEqual(attributes['lameduck.requests'], ['GET /slow']);
  assert.match(attributes['network.peer.address'], /^127\.0\.0\.1:\d+$/);
  assert.equal(shutdown.attributes['lameduck.cause'], 'programmatic');
  assert.equal(shutdown.attributes['lameduck.cause_detail'], 'deploy');
  assert.equal(shutdown.attributes['lameduck.requests.forced'], 1);
  assert.equal(shutdown.attributes['lameduck.exit_code'], 1);
  assert.match(shutdown.status.message, /cut at the drain deadline/);
  assert.equal(shutdown.parentSpanContext, undefined);

  const hooks = telemetry.spans.filter(({ name }) => name.endsWith(' hook'));
  assert.deepEqual(hooks.map(({ name, attributes: a }) => [name, a['lameduck.hook.name'], a['lameduck.hook.result']]), [
    ['lameduck drain hook', 'consumer', 'ok'],
    ['lameduck close hook', 'pool', 'failed'],
  ]);
  for (const { parentSpanContext } of hooks) assert.equal(parentSpanContext.spanId, shutdown.spanContext().spanId);
  const [, pool] = hooks;
  assert.equal(pool.status.message, 'Error: no pool');
  assert.equal(pool.events[0].name, 'exception');
});

test('without an SDK it costs nothing and breaks nothing', async (t) => {
  const { duck } = await serveInline(t);
  instrument(duck);
  const report = await duck.shutdown();
  assert.equal(report.exit_code, 0);
  assert.throws(() => instrument(duck), /comes too late/);
});
