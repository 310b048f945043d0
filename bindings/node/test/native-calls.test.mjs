// While serving, a request crosses into native code zero times: what it costs is the promise of the ledger.
import assert from 'node:assert/strict';
import http from 'node:http';
import { createRequire } from 'node:module';
import { test } from 'node:test';

const require = createRequire(import.meta.url);
const { native } = require('../dist/native.js');

let calls = [];
for (const name of Object.getOwnPropertyNames(native.Driver.prototype)) {
  const method = native.Driver.prototype[name];
  if (name === 'constructor' || typeof method !== 'function') continue;
  native.Driver.prototype[name] = function (...args) {
    calls.push(name);
    return method.apply(this, args);
  };
}
for (const name of ['stopAccepting', 'pending', 'unread', 'now', 'stdinIsTerminal']) {
  const method = native[name];
  Object.defineProperty(native, name, {
    value: (...args) => {
      calls.push(name);
      return method(...args);
    },
  });
}
const { lameduck } = require('../index.cjs');

test('a request while serving makes no native call, a connection at most one, and the drain some', async () => {
  const server = http.createServer((request, response) => {
    request.resume();
    response.end('hello');
  });
  const duck = lameduck(server, { exit: false, signals: [], logger: false, window: 0, quiet: 10, settle: 0 });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
  const once = (method) => new Promise((resolve, reject) => {
    const request = http.request({ port, agent, method, path: '/' }, (response) => {
      response.resume().on('end', resolve);
    });
    request.on('error', reject);
    request.end(method === 'POST' ? 'x'.repeat(5_000) : undefined);
  });

  calls = [];
  await Promise.all([once('GET'), once('GET')]);
  assert.deepEqual(new Set(calls), new Set(['addPage']), 'opening connections adds a page to the ledger, once');

  calls = [];
  for (let round = 0; round < 200; round++) await Promise.all([once('GET'), once('POST')]);
  assert.deepEqual(calls, [], '400 requests on connections that are open');

  const report = duck.shutdown();
  assert.ok(calls.includes('handOver'), 'the counter counts');
  agent.destroy();
  assert.equal((await report).exit_code, 0);
});
