// Timers: what runs is waited for, and nothing begins while draining.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertReport } from '../../bindings/node/test/support/report.mjs';
import { BUDGET, assertGoneEarly, start as startServer } from '../../bindings/node/test/support/server.mjs';
import { hooks } from './support.mjs';

const kinds = {
  'node-cron': ({ require, resources }, work) => {
    const task = require('node-cron').schedule('* * * * * *', work, { name: 'bills' });
    return resources.nodeCron(task);
  },
  croner: ({ require, resources }, work) => {
    const { Cron } = require('croner');
    return resources.croner(new Cron('* * * * * *', { name: 'bills' }, work));
  },
};

for (const [kind, make] of Object.entries(kinds)) {
  test(`${kind}: what runs when draining begins is done before the exit, and nothing begins afterwards`, async (t) => {
    const server = await startServer(t, {
      env: { FIXTURE_PACKAGES: import.meta.url },
      setup: `(ctx) => {
        const { duck, say, sleep } = ctx;
        duck.use((${make})(ctx, async () => {
          say('begun');
          await sleep(700);
          say('done');
        }));
        duck.onClose('after', () => say('closed'));
      }`,
    });
    await server.event('begun');
    server.signal();
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET);
    const seen = server.events.map(({ event }) => event).filter((event) => ['begun', 'done', 'closed'].includes(event));
    assert.deepEqual(seen, ['begun', 'done', 'closed']);
    assert.deepEqual(hooks(end.report), ['after close ok', `${kind} bills drain ok`]);
  });
}
