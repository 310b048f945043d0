// HTTP/2: two GOAWAYs, requests counted by stream, nothing cut (RFC 9113 §6.8).
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { test } from 'node:test';
import { connect as connectRaw } from './support/client.mjs';
import { connect, request } from './support/http2.mjs';
import { BUDGET, TIGHT, assertGoneByT, assertGoneEarly, sleep, start } from './support/server.mjs';
import { assertCause, assertNames, assertReport, assertVerdict } from './support/report.mjs';

const WIDE = { ...BUDGET, window: 1200 };
const ANY_STREAM = 2 ** 31 - 1;

for (const secure of [false, true]) {
  const name = secure ? 'over TLS' : 'without TLS';

  test(`streams in flight complete and the session is told to go away, ${name}`, async (t) => {
    const server = await start(t, { http2: true, secure });
    const session = await connect(t, server.port, { secure });
    assert.equal((await request(session, '/fast')).text, 'fast');
    const answers = [request(session, '/slow?ms=900'), request(session, '/slow?ms=700')];
    await server.event('slow');
    await sleep(50);
    server.signal();
    const texts = (await Promise.all(answers)).map(({ status, text }) => [status, text]);
    assert.deepEqual(texts, [[200, 'slow'], [200, 'slow']]);
    await session.over;
    // Under TLS there is only the final one: the peer's third stream was number 5.
    assert.deepEqual(session.told[0], [0, secure ? 5 : ANY_STREAM]);
    const end = await server.end();
    assertReport(end, 0);
    assertGoneEarly(end, BUDGET);
    assertVerdict(end.report, 'completed', 2);
  });
}

/** Speaks HTTP/2 by hand, as far as these tests need: a peer that opens streams although it was told not to. */
async function raw(t, port) {
  const conn = await connectRaw(port);
  t.after(() => conn.destroy());
  const frames = [];
  let rest = Buffer.alloc(0);
  const frame = (type, flags, stream, payload = Buffer.alloc(0)) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    conn.socket.write(Buffer.concat([head, payload]));
  };
  conn.socket.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
      const length = rest.readUIntBE(0, 3);
      const [type, flags, stream] = [rest.readUInt8(3), rest.readUInt8(4), rest.readUInt32BE(5)];
      const payload = rest.subarray(9, 9 + length);
      frames.push({ type, flags, stream, payload, at: performance.now() });
      if (type === 4 && !(flags & 1)) frame(4, 1, 0); // SETTINGS are acknowledged
      rest = rest.subarray(9 + length);
    }
  });
  conn.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  frame(4, 0, 0);
  /** GET: `:method GET`, `:scheme http` from the static table, `:path` as a literal, `:authority` x. */
  const get = (stream, path) => {
    const literal = (index, text) => Buffer.concat([Buffer.from([index, text.length]), Buffer.from(text)]);
    frame(1, 5, stream, Buffer.concat([Buffer.from([0x82, 0x86]), literal(0x04, path), literal(0x01, 'x')]));
  };
  const until = async (what) => {
    for (const end = performance.now() + 8_000; performance.now() < end; await sleep(5)) {
      const found = frames.find(what);
      if (found) return found;
    }
    throw new Error(`it never came; frames: ${frames.map(({ type, stream }) => `${type}/${stream}`)}`);
  };
  /** More flow-control window, of a stream or with 0 of all. */
  const widen = (stream, by) => {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(by);
    frame(8, 0, stream, payload);
  };
  const goaways = () => frames.filter(({ type }) => type === 7).map(({ payload, at }) => ({ last: payload.readUInt32BE(0), code: payload.readUInt32BE(4), at }));
  const ended = (stream) => (frame) => frame.stream === stream && frame.type <= 1 && (frame.flags & 1) === 1;
  return { conn, frames, get, widen, until, goaways, ended };
}

test('between the two GOAWAYs new streams are served; the second names the last of them', async (t) => {
  const server = await start(t, { options: WIDE, http2: true });
  const peer = await raw(t, server.port);
  peer.get(1, '/fast');
  await peer.until(peer.ended(1));
  server.signal();
  await peer.until(({ type }) => type === 7);
  peer.get(3, '/slow?ms=30');
  await peer.until(peer.ended(3));
  await peer.until(() => peer.goaways().length >= 2);
  assert.equal((await peer.conn.closed).how, 'end');
  const [first, last] = peer.goaways();
  assert.deepEqual([first.code, first.last], [0, ANY_STREAM]);
  assert.deepEqual([last.code, last.last], [0, 3]);
  assert.ok(last.at - first.at > WIDE.quiet - 50, `${last.at - first.at} ms between them`);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('a stream that a peer opens after the final GOAWAY is not processed, and is no loss', async (t) => {
  const server = await start(t, { options: WIDE, http2: true });
  const peer = await raw(t, server.port);
  peer.get(1, '/slow?ms=2500');
  await server.event('slow');
  server.signal();
  await peer.until(() => peer.goaways().length >= 2);
  await sleep(20);
  peer.get(3, '/fast');
  await peer.until(peer.ended(1));
  await peer.conn.closed;
  assert.equal(peer.frames.some(({ stream, type }) => stream === 3 && type === 1), false, 'it was answered');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('an idle session is closed early', async (t) => {
  const server = await start(t, { http2: true });
  const session = await connect(t, server.port);
  await request(session, '/fast');
  server.signal();
  await session.over;
  const end = await server.end();
  assertReport(end, 0);
  assertGoneEarly(end, BUDGET);
});

test('30 MB ended but not flushed arrive whole at a slow reader', async (t) => {
  const server = await start(t, { http2: true });
  const session = await connect(t, server.port);
  session.setLocalWindowSize(64 * 2 ** 20);
  const stream = session.request({ ':path': '/big?mb=30' });
  stream.pause();
  await server.event('big-ended');
  server.signal();
  await sleep(600);
  let bytes = 0;
  stream.on('data', (chunk) => (bytes += chunk.length)).resume();
  await once(stream, 'close');
  assert.equal(bytes, 30_000_000);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test('peers that read nothing in the window get every byte, and are told', async (t) => {
  const server = await start(t, { http2: true, options: WIDE });
  const peers = await Promise.all(Array.from({ length: 4 }, () => raw(t, server.port)));
  for (const { get, until, widen, conn } of peers) {
    await until(({ type }) => type === 4); // and acknowledges it, which the GOAWAY waits for
    get(1, '/big?mb=20');
    for (const stream of [0, 1]) widen(stream, 2 ** 30);
    conn.socket.pause();
  }
  await server.event('big-ended');
  server.signal();
  await sleep(1000); // the first GOAWAY is due, and there is no room for it
  for (const { conn } of peers) conn.socket.resume();
  const data = ({ frames }) => Buffer.concat(frames.filter(({ type, stream }) => type === 0 && stream === 1).map(({ payload }) => payload));
  for (const peer of peers) {
    await peer.until(peer.ended(1));
    assert.ok(data(peer).equals(Buffer.alloc(20_000_000, 'x')));
  }
  await server.exited;
  for (const peer of peers) assert.equal(peer.goaways().at(-1)?.last, 1);
  assertReport(await server.end(), 0);
});

test('an upload is read to its end', async (t) => {
  const server = await start(t, { http2: true });
  const session = await connect(t, server.port);
  const stream = session.request({ ':path': '/upload', ':method': 'POST' });
  stream.setEncoding('utf8');
  stream.write('a'.repeat(1000));
  await server.event('upload');
  server.signal();
  await sleep(500);
  stream.end('b'.repeat(1000));
  const [text] = await once(stream, 'data');
  assert.equal(JSON.parse(text).length, 2000);
  assertReport(await server.end(), 0);
});

test('a stream that never ends by itself is ended cleanly, other streams of the session are not touched', async (t) => {
  const server = await start(t, { options: WIDE, http2: true });
  const session = await connect(t, server.port);
  const events = request(session, '/sse');
  await server.event('sse');
  const slow = request(session, '/slow?ms=1500');
  await server.event('slow');
  server.signal();
  const { status, text } = await events;
  assert.equal(status, 200);
  assert.match(text, /^data: hello\n\n:\nretry: \d+\n$/);
  assert.deepEqual(await slow, { status: 200, text: 'slow' });
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'ended', 1);
  assertVerdict(end.report, 'completed', 1);
});

test('at the drain deadline an unanswered stream gets 503, a begun one is cut, exit 1', async (t) => {
  const server = await start(t, { options: TIGHT, http2: true });
  const session = await connect(t, server.port);
  const stuck = request(session, '/stuck');
  const begun = request(session, '/stuck-after-headers');
  await server.event('stuck');
  await server.event('stuck-after-headers');
  server.signal();
  await assert.rejects(begun);
  assert.equal((await stuck).status, 503);
  const end = await server.end();
  assertReport(end, 1);
  assertGoneByT(end, TIGHT);
  assertVerdict(end.report, 'forced', 2);
  assertNames(end.report, /"http2"/, /GET \/stuck"/);
});

test('a client that resets its stream is gone, and nothing is lost', async (t) => {
  const server = await start(t, { http2: true });
  const session = await connect(t, server.port);
  const stream = session.request({ ':path': '/stuck' });
  stream.on('error', () => {});
  await server.event('stuck');
  server.signal();
  await server.event('phase');
  stream.close(http2.constants.NGHTTP2_CANCEL);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'client_gone', 1);
});

test('the abort signal of a stream fires before the deadline', async (t) => {
  const server = await start(t, {
    options: TIGHT,
    http2: true,
    setup: ({ duck, route, say }) => route('/work', (req, res) => {
      say('work');
      duck.requestSignal(req).addEventListener('abort', () => {
        say('rolled-back');
        res.end('rolled back');
      });
    }),
  });
  const session = await connect(t, server.port);
  const answer = request(session, '/work');
  await server.event('work');
  server.signal();
  assert.equal((await answer).text, 'rolled back');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});

test("newRequests: 'refuse' answers 503 on a stream, and probes all the same", async (t) => {
  const health = { livePath: '/livez', readyPath: '/readyz' };
  const server = await start(t, { options: { ...WIDE, newRequests: 'refuse', health }, http2: true });
  const peer = await raw(t, server.port);
  peer.get(1, '/readyz');
  await peer.until(peer.ended(1));
  server.signal();
  await server.event('phase');
  peer.get(3, '/fast');
  peer.get(5, '/livez');
  await peer.until(peer.ended(3));
  await peer.until(peer.ended(5));
  // `:status` 503 is a literal of three digits, 200 the static table's entry 8.
  const status = (id) => peer.frames.find(({ stream, type }) => stream === id && type === 1).payload;
  assert.equal(status(1)[0], 0x88);
  assert.ok(status(3).includes('503') || status(3)[0] !== 0x88);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'refused', 2);
});

test('a server that has only stream listeners is drained alike', async (t) => {
  const server = await start(t, {
    http2: true,
    listen: false,
    options: { ...BUDGET, health: { readyPath: '/readyz' } },
    setup: async ({ server, listen, say }) => {
      server.removeAllListeners('request');
      server.removeAllListeners('stream');
      server.on('stream', (stream) => {
        say('stream');
        setTimeout(() => {
          stream.respond({ ':status': 200 });
          stream.end('raw');
        }, 600);
      });
      await listen();
    },
  });
  const { port } = await server.event('listening');
  const session = await connect(t, port);
  assert.equal((await request(session, '/readyz')).status, 200);
  const answer = request(session, '/any');
  await server.event('stream');
  server.signal();
  assert.deepEqual(await answer, { status: 200, text: 'raw' });
  const end = await server.end();
  assertReport(end, 0);
  assertCause(end.report, 'terminate', 'SIGTERM');
});

test('allowHTTP1: both protocols on one port, each in its own manner', async (t) => {
  const server = await start(t, { http2: true, secure: true });
  const session = await connect(t, server.port, { secure: true });
  const old = await connectRaw(server.port, { secure: true });
  const answers = [request(session, '/slow?ms=700'), old.request('/slow?ms=700')];
  await server.event('slow');
  await sleep(100);
  server.signal();
  const [two, one] = await Promise.all(answers);
  assert.deepEqual([two.status, one.status, one.closes], [200, 200, true]);
  assert.equal((await old.closed).how, 'end');
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 2);
});

test('over TLS the GOAWAY comes with a response, before the client can send another request', async (t) => {
  const server = await start(t, { options: WIDE, http2: true, secure: true });
  const session = await connect(t, server.port, { secure: true });
  server.signal();
  await server.event('phase');
  let served = 0;
  // A client that sends one request after the other until it is told.
  while (!session.closed) {
    assert.equal((await request(session, '/fast')).status, 200);
    served += 1;
  }
  await session.over;
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', served);
});

test('a session that connects in the window is served and told', async (t) => {
  const server = await start(t, { options: WIDE, http2: true });
  server.signal();
  await server.event('phase');
  const session = await connect(t, server.port);
  assert.equal((await request(session, '/fast')).text, 'fast');
  await session.over;
  assert.deepEqual(session.told[0], [0, ANY_STREAM]);
  const end = await server.end();
  assertReport(end, 0);
  assertVerdict(end.report, 'completed', 1);
});
