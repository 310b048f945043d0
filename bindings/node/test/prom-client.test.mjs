// The metrics in a registry of the real prom-client: the same as the text, whenever somebody scrapes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Gauge, Registry, register } from 'prom-client';
import { collect } from '../prom-client.js';
import { connect } from './support/client.mjs';
import { serveInline } from './support/inline.mjs';

/** Of a text: what a scraper reads, without blank lines, and without what depends on the moment. */
const read = (text) => text.trim().split('\n').filter(Boolean).map((line) => line.replace(/^(lameduck_shutdown_seconds) .*/, '$1'));

test('a scrape has the same families as metrics(), beside those of the program: serving, draining and done', async (t) => {
  const { server, duck, port } = await serveInline(t);
  const registry = new Registry();
  new Gauge({ name: 'own', help: 'The program\'s.', registers: [registry] }).set(7);
  collect(duck, registry);
  const scrape = async () => {
    const lines = read(await registry.metrics());
    const own = lines.filter((line) => / own( |$)|^own /.test(line));
    assert.equal(own.length, 3);
    return lines.filter((line) => !own.includes(line));
  };
  const idle = await scrape();
  assert.deepEqual(idle, read(duck.metrics()));
  assert.ok(idle.includes('lameduck_phase{phase="serving"} 1'));

  const conn = await connect(port);
  const asked = once(server, 'asked');
  const answer = conn.request('/slow?ms=400');
  await asked;
  const stopped = duck.shutdown();
  const draining = await scrape();
  assert.deepEqual(draining, read(duck.metrics()));
  assert.ok(draining.includes('lameduck_requests_in_flight 1') && draining.includes('lameduck_phase{phase="draining"} 1'), draining.join('\n'));
  await answer;
  await stopped;
  for (const _ of [1, 2]) {
    const done = await scrape();
    assert.deepEqual(done, read(duck.metrics()));
    assert.ok(done.includes('lameduck_shutdown_requests_total{verdict="completed"} 1'), 'a counter does not add itself up');
    assert.ok(done.includes('lameduck_phase{phase="done"} 1'));
  }
  const { values } = await registry.getSingleMetric('lameduck_shutdown_seconds').get();
  assert.ok(values[0].value > 0.3 && values[0].value < 4, 'seconds');
});

test('a registry that has them already is refused with a sentence and stays as it was; another registry takes them', async (t) => {
  const { duck } = await serveInline(t);
  const registry = new Registry();
  collect(duck, registry);
  assert.throws(() => collect(duck, registry), /^Error: lameduck: this registry has lameduck_phase already; a registry takes one duck/);
  const partly = new Registry();
  new Gauge({ name: 'lameduck_jobs', help: 'Somebody else\'s.', registers: [partly] });
  assert.throws(() => collect(duck, partly), /this registry has lameduck_jobs already/);
  assert.deepEqual(partly.getMetricsAsArray().map(({ name }) => name), ['lameduck_jobs']);
  collect(duck, new Registry());
});

test('without a registry it is the default one; require() and import give the same', async (t) => {
  const { duck } = await serveInline(t);
  t.after(() => register.clear());
  collect(duck);
  assert.match(await register.metrics(), /^lameduck_ready 1$/m);
  assert.equal(createRequire(import.meta.url)('../prom-client.js').collect, collect);
});

test('the text is the exposition format: each family once, its help and type before its samples, every sample a number', async (t) => {
  const { duck } = await serveInline(t);
  const text = duck.metrics();
  assert.ok(text.endsWith('\n'));
  const seen = new Map();
  let family;
  for (const line of text.trimEnd().split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line);
    if (comment) {
      const [, what, name, rest] = comment;
      if (what === 'HELP') assert.ok(!seen.has(name), `${name} twice`);
      else assert.match(rest, /^(counter|gauge)$/);
      family = what === 'HELP' ? seen.set(name, { samples: new Set() }) && name : family;
      assert.equal(name, family);
      seen.get(name)[what] = rest;
      continue;
    }
    const sample = /^([a-z_]+)(\{[a-z]+="[a-z_]+"\})? (\d+(\.\d+)?)$/.exec(line);
    assert.ok(sample, line);
    assert.equal(sample[1], family);
    const { HELP, TYPE, samples } = seen.get(family);
    assert.ok(HELP && TYPE, `${family} has no ${HELP ? 'type' : 'help'} before its samples`);
    assert.equal(TYPE === 'counter', family.endsWith('_total'), `the suffix _total is a counter's: ${family}`);
    assert.ok(!samples.has(sample[2]), `${line} twice`);
    samples.add(sample[2]);
  }
  assert.equal(seen.size, 7);
});
