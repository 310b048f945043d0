// The machine's decisions, replayed through the addon's own methods and conversions: handles, names, 64-bit times and
// refusals are the same here as in the core (tests/vectors/README.md describes the files).
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const { native } = createRequire(import.meta.url)('../dist/native.js');
const folder = new URL('../../../tests/vectors/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const milliseconds = (micros) => (micros === null || micros === undefined ? undefined : micros / 1_000);

function settings(policy = {}) {
  const result = {};
  for (const [name, value] of Object.entries(policy)) {
    if (name === 'seed') result.seed = BigInt(value);
    else if (value === 'unlimited') result.grace = Infinity;
    else result[camel(name.replace(/_ms$/, ''))] = value;
  }
  return result;
}

/** The arguments of each event method, in its order. */
const ARGUMENTS = {
  connection_adopted: ['connection', 'protocol', 'in_flight', 'announced'],
  connection_busy: ['connection'],
  connection_closed: ['connection'],
  connection_described: ['connection', 'peer'],
  connection_opened: ['connection', 'protocol'],
  connection_upgraded: ['connection', 'protocol'],
  deadline_changed: ['grace_us'],
  escalate: [],
  hook_finished: ['hook', 'error'],
  hook_registered: ['hook', 'stage', 'name', 'order', 'timeout_us'],
  job_finished: ['job', 'outcome'],
  job_started: ['job', 'name', 'source', 'on_drain'],
  listener_closed: ['listener'],
  listener_failed: ['listener', 'error'],
  listener_opened: ['listener'],
  request_described: ['connection', 'request', 'kind', 'label', 'since_us'],
  request_finished: ['connection', 'request', 'outcome', 'flushed'],
  request_flushed: ['connection', 'request'],
  request_headers_sent: ['connection', 'request', 'announced'],
  request_started: ['connection', 'request', 'kind'],
  shutdown: ['cause', 'ever_accepted'],
};

function handle(driver, event, origin, now) {
  const values = ARGUMENTS[event.type].map((field) => {
    if (field === 'since_us') return origin + BigInt(event.since_us) * 1_000n;
    return field.endsWith('_us') ? milliseconds(event[field]) : event[field];
  });
  return driver[camel(event.type)](...values, now);
}

function effectsOf(driver) {
  const effects = [];
  for (let effect = driver.pollEffect(); effect !== null; effect = driver.pollEffect()) {
    effects.push(Object.fromEntries(Object.entries(effect).filter(([, value]) => value !== undefined)));
  }
  return effects;
}

const withoutNulls = (effect) => Object.fromEntries(Object.entries(effect).filter(([, value]) => value !== null));

test('there are vectors to replay', () => assert.ok(files.length >= 25, `${files.length} files`));

for (const file of files) {
  test(`vector ${file}`, () => {
    const vector = JSON.parse(readFileSync(new URL(file, folder), 'utf8'));
    const create = () => new native.Driver(settings(vector.policy), vector.environment ?? {});
    if (vector.contradiction !== undefined) {
      assert.throws(create, (error) => error.message === vector.contradiction);
      return;
    }
    const driver = create();
    const origin = BigInt(vector.origin_ns);
    let now = origin;
    for (const [index, step] of vector.steps.entries()) {
      const at = `${file}, step ${index}`;
      now = origin + BigInt(step.at_us) * 1_000n;
      if (step.tick) driver.tick(now);
      else assert.equal(handle(driver, step.event, origin, now), step.refused ?? null, at);
      assert.deepEqual(effectsOf(driver), step.effects.map(withoutNulls), at);
      const wake = driver.nextWake();
      const expected = step.wake && { at: origin + BigInt(step.wake.at_us) * 1_000n, why: step.wake.why };
      assert.deepEqual(wake, expected, at);
      assert.equal(driver.phase(), step.phase, at);
    }
    assert.deepEqual(JSON.parse(driver.report(now)), vector.report, file);
  });
}
