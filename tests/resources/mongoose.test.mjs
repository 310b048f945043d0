// There is no MongoDB among Debian's packages: this shows only what mongoose does without one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertReport, hook } from '../../bindings/node/test/support/report.mjs';
import { BUDGET, assertGoneEarly, start as startServer } from '../../bindings/node/test/support/server.mjs';
import { freePort } from '../support/children.mjs';
import { hooks } from './support.mjs';

test('connections that were never opened, or are closed, are no failure', async (t) => {
  const server = await startServer(t, {
    env: { FIXTURE_PACKAGES: import.meta.url },
    setup: ({ require, resources, duck }) => {
      const { mongoose } = require('mongoose');
      duck.use(resources.mongoose(mongoose)).use(resources.mongoose(mongoose.createConnection()));
    },
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET, 2000);
  assert.deepEqual(hooks(end.report), ['mongoose 2 close ok', 'mongoose close ok']);
});

test('a connection that waits for a server that is not there is bounded by its timeout', async (t) => {
  const port = await freePort();
  const server = await startServer(t, {
    env: { FIXTURE_PACKAGES: import.meta.url },
    setup: `({ require, resources, duck }) => {
      const connection = require('mongoose').createConnection('mongodb://127.0.0.1:${port}');
      connection.asPromise().catch(() => {});
      duck.use(resources.mongoose(connection), { timeout: '300ms' });
    }`,
  });
  server.signal();
  const end = await server.end();
  assertReport(end, 1);
  assertGoneEarly(end, BUDGET, 2500);
  assert.equal(hook(end.report, 'mongoose').result, 'timed_out');
});
