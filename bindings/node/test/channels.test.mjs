// diagnostics_channel: what an APM sees without touching the program.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { test } from 'node:test';
import { connect } from './support/client.mjs';
import { serveInline } from './support/inline.mjs';

test('phases, hooks, what is cut, and the report are published in their order', async (t) => {
  const { server, duck, port } = await serveInline(t, { grace: '1500ms', margin: '200ms', reserve: '500ms' });
  const story = [];
  const told = {};
  for (const name of ['phase', 'hook', 'forced', 'report']) {
    const listen = (message) => {
      assert.equal(message.duck, duck);
      (told[name] ??= []).push(message);
      story.push([name, message.phase ?? message.name, message.result].filter(Boolean).join(' '));
    };
    subscribe(`lameduck:${name}`, listen);
    t.after(() => unsubscribe(`lameduck:${name}`, listen));
  }
  const thrown = new Error('no pool');
  duck.onDrain('consumer', () => {});
  duck.onClose('pool', () => { throw thrown; }, { order: 1 });
  duck.onClose('hung', () => new Promise(() => {}), { order: 2, timeout: 50 });
  const conn = await connect(port);
  const asked = once(server, 'asked');
  conn.request('/slow?ms=Infinity').catch(() => {});
  const [request] = await asked;
  const report = await duck.shutdown();
  assert.deepEqual(story, [
    'phase draining', 'hook consumer running', 'hook consumer ok', 'forced',
    'phase closing', 'hook pool running', 'hook pool failed', 'hook hung running', 'hook hung timed_out', 'phase done', 'report',
  ]);
  assert.equal(told.hook.find(({ result }) => result === 'failed').error, thrown, 'the very error');
  assert.equal(told.hook[0].id, told.hook[1].id);
  assert.deepEqual(told.report[0].report, report);
  const [{ protocol, peer, requests }] = told.forced;
  assert.equal(protocol, 'http1');
  assert.match(peer, /^127\.0\.0\.1:\d+$/);
  assert.equal(requests[0].request, request, 'the very request');
  assert.deepEqual({ ...requests[0], request: undefined }, { request: undefined, label: 'GET /slow', kind: 'ordinary', answered: false });
});
