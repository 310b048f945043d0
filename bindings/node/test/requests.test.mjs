// What is in flight on an HTTP/1.1 connection while serving, and that all of it is handed over. Of an HTTP/2 session: streams.test.mjs.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connect, head } from './support/client.mjs';
import { attachInline, serveInline } from './support/inline.mjs';
import { sleep } from './support/server.mjs';

/** What is in flight, as each who can be asked has it. */
function counted(duck) {
  const { requests, idle_connections: idle, oldest } = duck.blockers();
  assert.match(duck.metrics(), new RegExp(`^lameduck_requests_in_flight ${requests}$`, 'm'));
  return { requests, idle, labels: oldest.map(({ label }) => label) };
}

for (const [when, early] of [['before', true], ['after', false]]) {
  test(`pipelined requests that are handed over ${when} the first is answered are told with their own ages`, async (t) => {
    const { duck, server, port } = await serveInline(t);
    const conn = await connect(port);
    conn.write(head('/first?ms=1000'));
    await once(server, 'asked');
    await sleep(600);
    conn.write(head('/second?ms=900') + head('/third?ms=1000'));
    await once(server, 'asked');
    await sleep(early ? 0 : 600);
    if (!early) assert.equal((await conn.response()).text, 'answered');
    const left = early ? ['GET /first', 'GET /second', 'GET /third'] : ['GET /second', 'GET /third'];
    const serving = duck.blockers();
    assert.deepEqual(counted(duck), { requests: left.length, idle: 0, labels: left });
    const report = duck.shutdown();
    const draining = duck.blockers();
    assert.deepEqual(counted(duck), { requests: left.length, idle: 0, labels: left });
    for (const { oldest } of [serving, draining]) {
      const ages = oldest.map(({ age_ms: age }) => age);
      // The clock that notes when a request began is up to 250 ms late.
      if (early) assert.ok(ages[0] - ages[1] > 250, `${ages}`);
      else assert.ok(ages[0] > 550 && ages[0] < 1150, `${ages}`);
    }
    const answers = [];
    for (const _ of left) answers.push(await conn.response());
    assert.deepEqual(answers.map(({ closes }) => closes), left.map((_, n) => n === left.length - 1));
    const { requests, exit_code: code } = await report;
    assert.deepEqual([requests.adopted, requests.completed, code], [left.length, left.length, 0]);
  });
}

test('a response that has ended is in flight until its last byte has left, and so is what was asked behind it', async (t) => {
  const server = http.createServer((req, res) => {
    res.end(Buffer.alloc(req.url === '/big' ? 30_000_000 : 1));
    if (req.url === '/behind') server.emit('both');
    else big = res;
  });
  let big;
  const { duck, port } = await attachInline(t, server);
  const conn = await connect(port);
  conn.socket.pause();
  conn.write(head('/big') + head('/behind'));
  await once(server, 'both');
  const closed = once(big, 'close');
  assert.ok(big.writableEnded && !big.writableFinished);
  assert.deepEqual(counted(duck).labels, ['GET /big', 'GET /behind']);
  conn.socket.resume();
  await closed;
  await conn.response();
  await conn.response();
  assert.deepEqual(counted(duck), { requests: 0, idle: 1, labels: [] });
  assert.equal((await duck.shutdown()).requests.adopted, 0);
});

test('clients that go away while others are served leave nothing counted', async (t) => {
  const { duck, server, port } = await serveInline(t);
  let first;
  server.once('request', ({ socket }, response) => (first = { socket, response }));
  for (const requests of [1, 3]) {
    const conn = await connect(port);
    conn.write(head('/never?ms=Infinity').repeat(requests));
    const [{ socket }] = await once(server, 'asked');
    await sleep(20);
    assert.equal(duck.blockers().requests, requests);
    const gone = once(socket, 'close');
    conn.destroy();
    await gone;
    assert.deepEqual(counted(duck), { requests: 0, idle: 0, labels: [] });
  }
  // The next one takes their place in the ledger; what their responses do now is nothing to that.
  const next = await connect(port);
  const answer = next.request('/slow?ms=300');
  await once(server, 'asked');
  first.response.detachSocket(first.socket);
  await sleep(20);
  assert.deepEqual(counted(duck), { requests: 1, idle: 0, labels: ['GET /slow'] });
  const report = await duck.shutdown();
  assert.equal((await answer).text, 'answered');
  assert.deepEqual([report.requests.adopted, report.requests.completed], [1, 1]);
});

test('an idle connection keeps nothing of its last request', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  let last;
  const server = http.createServer((_req, res) => {
    last = new WeakRef(res);
    res.end('answered');
  });
  const { duck, port } = await attachInline(t, server);
  const conn = await connect(port);
  for (let n = 0; n < 3; n++) await conn.request('/');
  for (let n = 0; n < 20 && last.deref(); n++) {
    await sleep(5);
    collect();
  }
  assert.equal(last.deref(), undefined);
  assert.deepEqual(counted(duck), { requests: 0, idle: 1, labels: [] });
});

test('what Node answers by itself is not counted, nor what was asked behind it discounted', async (t) => {
  const { duck, server, port } = await serveInline(t);
  server.maxRequestsPerSocket = 3;
  const conn = await connect(port);
  conn.write(head('/', { headers: { Expect: 'the unexpected' } }) + head('/slow?ms=300') + head('/slow?ms=300') + head('/too-many'));
  await once(server, 'asked');
  await sleep(50);
  assert.deepEqual(counted(duck), { requests: 2, idle: 0, labels: ['GET /slow', 'GET /slow'] });
  const statuses = [];
  for (let n = 0; n < 4; n++) statuses.push((await conn.response()).status);
  assert.deepEqual(statuses, [417, 200, 200, 503]);
  assert.equal(duck.blockers().requests, 0);
});

test('responses that are detached in a way of their own are counted by their closing', async (t) => {
  let detached = 0;
  class Other extends http.ServerResponse {
    detachSocket(socket) {
      detached += 1;
      return super.detachSocket(socket);
    }
  }
  const server = http.createServer({ ServerResponse: Other }, (req, res) => setTimeout(() => res.end('answered'), 100));
  const { duck, port } = await attachInline(t, server);
  const conn = await connect(port);
  conn.write(head('/one') + head('/two'));
  await once(server, 'request');
  await sleep(20);
  assert.deepEqual(counted(duck), { requests: 2, idle: 0, labels: ['GET /one', 'GET /two'] });
  await conn.response();
  await conn.response();
  assert.deepEqual(counted(duck), { requests: 0, idle: 1, labels: [] });
  const answer = conn.request('/three');
  await once(server, 'request');
  const report = await duck.shutdown();
  assert.equal((await answer).text, 'answered');
  assert.deepEqual([report.requests.adopted, report.requests.completed, detached], [1, 1, 3]);
});

test('a request that one server hands to another counts once', async (t) => {
  const second = http.createServer((req, res) => setTimeout(() => res.end('answered'), 100));
  const first = http.createServer((req, res) => void second.emit('request', req, res));
  const { duck, port } = await attachInline(t, first);
  duck.add(second);
  const conn = await connect(port);
  const ask = async () => {
    conn.write(head('/one') + head('/two'));
    await once(second, 'request');
    await sleep(20);
    assert.equal(duck.blockers().requests, 2);
    return [(await conn.response()).text, (await conn.response()).text];
  };
  assert.deepEqual(await ask(), ['answered', 'answered']);
  assert.deepEqual(counted(duck), { requests: 0, idle: 1, labels: [] });
  const kept = conn.request('/kept');
  await once(second, 'request');
  const report = duck.shutdown();
  conn.write(head('/late'));
  assert.deepEqual([(await kept).text, (await conn.response()).text], ['answered', 'answered']);
  const { requests, exit_code: code } = await report;
  assert.deepEqual([requests.adopted, requests.admitted, requests.completed, code], [1, 1, 2, 0]);
});
