// The situations, as clients see them. `run` begins something, has the server signalled, and says how much was lost of how much.
// An `unanswerable` one loses what it began under everybody: there only the exit and its time count.
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import WebSocket from 'ws';
import { connect, head } from '../test/support/client.mjs';
import { startClients } from '../test/support/clients.mjs';
import { pace } from '../test/support/pace.mjs';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** The most that a client waits before its next request. */
const THINK_MS = 20;
const ONE = ['http', 'https'];
const TWO = ['h2c', 'h2'];
const TLS = ['https', 'h2'];

/** How much of these was lost: what was refused at once was not. */
async function lostOf(attempts) {
  const results = await Promise.allSettled(attempts);
  return { lost: results.filter(({ status }) => status === 'rejected').length, of: results.length };
}

function expect(response, text) {
  if (response.status !== 200 || (text !== undefined && response.text !== text)) throw new Error(`${response.status} ${response.text.slice(0, 80)}`);
}

const open = ({ port, protocol }) => connect(port, { secure: protocol === 'https' });

async function session({ port, protocol }) {
  const client = http2.connect(`${protocol === 'h2' ? 'https' : 'http'}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  client.on('error', () => {});
  client.on('goaway', (_code, last) => (client.last = last));
  await once(client, 'remoteSettings');
  return client;
}

/** One stream's response; `between`, awaited after each piece of the body, makes the reader slow. */
async function stream(client, path, { method = 'GET', body, between } = {}) {
  const request = client.request({ ':path': path, ':method': method });
  let status;
  request.on('response', (headers) => (status = headers[':status']));
  if (body) body(request);
  else request.end();
  const parts = [];
  let have = 0;
  try {
    for await (const chunk of request) {
      parts.push(chunk);
      have += chunk.length;
      await between?.(have);
    }
  } catch (error) {
    throw Object.assign(error, { id: request.id });
  }
  if (status === undefined) throw Object.assign(new Error('no response'), { id: request.id });
  return { status, text: Buffer.concat(parts).toString() };
}

/** A request over a connection or session of its own; resolves when it is under way. */
async function begin(server, path, options = {}) {
  const two = TWO.includes(server.protocol);
  const client = two ? await session(server) : await open(server);
  return { client, answer: two ? stream(client, path, options) : client.request(path, options) };
}

const BODY = 'x'.repeat(40_000);

export const scenarios = [
  {
    name: 'a request of 800 ms is in flight',
    async run(server) {
      const { answer } = await begin(server, '/slow?ms=800');
      await server.says('slow');
      server.signal();
      return lostOf([answer.then((response) => expect(response, 'slow'))]);
    },
  },
  {
    name: 'headers are sent, the body ends 800 ms later',
    async run(server) {
      const { answer } = await begin(server, '/stream?ms=800');
      await server.says('stream');
      server.signal();
      return lostOf([answer.then((response) => expect(response, 'first last'))]);
    },
  },
  {
    name: '30 MB are written, and read in 1 s',
    async run(server) {
      const { answer } = await begin(server, '/big?mb=30', { between: pace(30e6, 1_000) });
      await server.says('big-ended');
      server.signal();
      return lostOf([answer.then((response) => expect({ ...response, text: String(response.text.length) }, '30000000'))]);
    },
  },
  {
    name: 'an upload of 1.2 s is half sent',
    async run(server) {
      if (TWO.includes(server.protocol)) {
        const { answer } = await begin(server, '/upload', {
          method: 'POST',
          async body(request) {
            for (let n = 0; n < 4; n++, await sleep(300)) request.write(BODY);
            request.end();
          },
        });
        await server.says('upload');
        await sleep(100);
        server.signal();
        return lostOf([answer.then((response) => expect(response))]);
      }
      const conn = await open(server);
      conn.write(head('/upload', { method: 'POST', headers: { 'Content-Length': 4 * BODY.length } }));
      conn.write(BODY);
      await server.says('upload');
      server.signal();
      for (let n = 0; n < 3; n++) {
        await sleep(300);
        conn.write(BODY);
      }
      return lostOf([conn.response().then((response) => expect(response))]);
    },
  },
  {
    name: 'three requests of 200 ms are pipelined',
    protocols: ONE,
    async run(server) {
      const conn = await open(server);
      conn.write(head('/slow?ms=200').repeat(3));
      await server.says('slow');
      server.signal();
      let lost = 3;
      try {
        for (; lost > 0; lost--) expect(await conn.response(), 'slow');
      } catch {
        // What did not come is counted.
      }
      return { lost, of: 3 };
    },
  },
  {
    name: 'half a request head has arrived; the rest comes 300 ms later',
    protocols: ONE,
    async run(server) {
      const conn = await open(server);
      const text = head('/fast');
      conn.write(text.slice(0, 12));
      await sleep(100);
      server.signal();
      await sleep(300);
      conn.write(text.slice(12));
      return lostOf([conn.response().then((response) => expect(response, 'fast'))]);
    },
  },
  {
    name: 'a connection is open and has never sent a byte',
    protocols: ONE,
    async run(server) {
      await open(server);
      await sleep(50);
      server.signal();
      return { lost: 0, of: 0 };
    },
  },
  {
    name: 'a TLS handshake has not begun',
    protocols: TLS,
    async run(server) {
      const socket = net.connect(server.port, '127.0.0.1').on('error', () => {});
      await once(socket, 'connect');
      await sleep(50);
      server.signal();
      return { lost: 0, of: 0 };
    },
  },
  {
    name: 'a session is idle: is it told (GOAWAY)?',
    protocols: TWO,
    async run(server) {
      const client = await session(server);
      expect(await stream(client, '/fast'), 'fast');
      const over = once(client, 'close');
      server.signal();
      await over;
      return { lost: client.last === undefined ? 1 : 0, of: 1 };
    },
  },
  {
    name: 'an event stream is open: does it end cleanly?',
    async run(server) {
      const { answer } = await begin(server, '/sse');
      await server.says('sse');
      server.signal();
      return lostOf([answer]);
    },
  },
  {
    name: 'a WebSocket is open: does it get a close frame?',
    protocols: ONE,
    async run(server) {
      const socket = new WebSocket(`${server.protocol === 'https' ? 'wss' : 'ws'}://127.0.0.1:${server.port}/socket`, { rejectUnauthorized: false });
      socket.on('error', () => {});
      await once(socket, 'message');
      server.signal();
      const [code] = await once(socket, 'close');
      return { lost: code === 1006 ? 1 : 0, of: 1 };
    },
  },
  {
    name: 'a handler never answers',
    unanswerable: true,
    async run(server) {
      const { answer } = await begin(server, '/stuck');
      await server.says('stuck');
      server.signal();
      return lostOf([answer.then((response) => expect(response))]);
    },
  },
  {
    name: 'the event loop is blocked for 6 s',
    unanswerable: true,
    async run(server) {
      const { answer } = await begin(server, '/block?ms=6000');
      await server.says('block');
      server.signal();
      return lostOf([answer.then((response) => expect(response))]);
    },
  },
  {
    name: '60 keep-alive clients ask every 0 to 20 ms',
    race: true,
    async run(server) {
      const clients = TWO.includes(server.protocol) ? startSessions(server, 60) : startClients(server.port, 60, { path: '/fast', secure: server.protocol === 'https', think: THINK_MS });
      await sleep(600);
      server.signal();
      await server.exited;
      await clients.stop();
      // Who finds the listener closed was told so before it asked.
      const lost = clients.failures.filter((message) => !/ECONNREFUSED/.test(message)).length;
      return { lost, of: lost + clients.answered };
    },
  },
];

/** Whether a stream certainly was not processed, so that repeating it is safe (RFC 9113 §6.8, §8.7). */
function unprocessed({ code, message, id }, client) {
  const neverLeft = code === 'ERR_HTTP2_GOAWAY_SESSION' || code === 'ERR_HTTP2_INVALID_SESSION';
  return neverLeft || message.includes('NGHTTP2_REFUSED_STREAM') || id > client?.last;
}

/** As `startClients`, each with an HTTP/2 session of its own. */
function startSessions(server, count) {
  const failures = [];
  const result = { failures, answered: 0 };
  let running = true;
  const all = Promise.all(Array.from({ length: count }, async () => {
    let client;
    while (running) {
      try {
        if (client === undefined || client.closed || client.destroyed || client.last !== undefined) client = await session(server);
        expect(await stream(client, '/fast'), 'fast');
        result.answered += 1;
        await sleep(Math.random() * THINK_MS);
      } catch (error) {
        if (!unprocessed(error, client)) failures.push(error.code ?? error.message);
        client = undefined;
        await sleep(20);
      }
    }
    client?.destroy();
  }));
  return Object.assign(result, {
    async stop() {
      running = false;
      await all;
    },
  });
}
