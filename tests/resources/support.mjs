// A server that uses a database through one of its clients, and requests that go on while it stops.
import assert from 'node:assert/strict';
import { request } from '../../bindings/node/test/support/client.mjs';
import { sleep, start as startServer } from '../../bindings/node/test/support/server.mjs';

/**
 * Starts a server whose `/ask` answers what `ask(ms)` resolves with; it may take `ms` milliseconds. `setup(ctx, given)` runs in it,
 * sees only its arguments, and returns `ask`; `given` is JSON.
 */
export function start(t, setup, given = {}, options = {}) {
  const route = ({ route, say }, ask) => route('/ask', async (req, res) => {
    say('asked');
    try {
      res.end(String(await ask(Number(new URL(req.url, 'http://test').searchParams.get('ms')))));
    } catch (error) {
      say('failed', { message: error.message });
      res.writeHead(500).end(error.message);
    }
  });
  return startServer(t, {
    ...options,
    env: { FIXTURE_PACKAGES: import.meta.url },
    setup: `async (ctx) => (${route})(ctx, await (${setup})(ctx, ${JSON.stringify(given)}))`,
  });
}

/**
 * Stops the server with eight requests in flight, and sends new ones until nobody listens any more. All of them must be answered, and
 * with what `answers` matches.
 */
export async function stopUnderRequests(server, answers = /^ok$/) {
  const asked = () => server.events.filter(({ event }) => event === 'asked').length;
  const before = asked();
  const long = Array.from({ length: 8 }, () => request(server.port, '/ask?ms=800'));
  await server.event('asked', () => asked() >= before + long.length);
  server.signal();
  const short = [];
  let listening = true;
  for (; listening && !server.over; await sleep(20)) {
    short.push(request(server.port, '/ask?ms=1').catch((error) => {
      if (error.code !== 'ECONNREFUSED') throw error;
      listening = false;
    }));
  }
  const answered = (await Promise.all([...long, ...short])).filter(Boolean);
  for (const { status, text } of answered) {
    assert.equal(status, 200, text);
    assert.match(text, answers);
  }
  assert.ok(answered.length >= long.length + 5, `only ${answered.length} requests were answered`);
  return answered.length;
}

/** Lets the server begin work by six requests, each of which makes some; resolves with when that had begun. */
export async function begin(server) {
  await Promise.all(Array.from({ length: 6 }, () => request(server.port, '/ask?ms=0')));
  return server.event('begun');
}

/** The hooks of a report, as `name stage result`. */
export const hooks = (report) => report.hooks.map(({ name, stage, result }) => `${name} ${stage} ${result}`).sort();
