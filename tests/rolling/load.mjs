// A strict HTTP/1.1 load client: raw sockets, keep-alive, no retries, every answer checked byte for byte, every failure named.
import { randomBytes } from 'node:crypto';
import net from 'node:net';

const TIMEOUT = 10_000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Runs `clients` clients, which wait `think` milliseconds on average; `make(n)` makes their requests: `{ method, path, body, expected }`,
 * all bytes. `stop()` resolves with what they saw.
 */
export function startLoad(port, { clients, think = 75, make = echo }) {
  const result = { requests: 0, posts: 0, latencies: [], failures: [], began: performance.now() };
  let running = true;

  async function client(number) {
    let conn = null;
    for (let n = number; running; n++) {
      await sleep(Math.random() * 2 * think);
      const request = make(n);
      const began = performance.now();
      result.requests += 1;
      if (request.method === 'POST') result.posts += 1;
      try {
        // An idle connection that was closed before anything was sent on it is no failure.
        if (!conn?.usable) conn = await Conn.open(port);
        const { status, body, closes } = await conn.exchange(request);
        if (status !== 200) throw failure(`status ${status}`);
        if (!body.equals(request.expected)) throw failure('wrong body');
        result.latencies.push(performance.now() - began);
        if (closes) conn = conn.close();
      } catch (error) {
        conn = conn?.close();
        result.failures.push({ at: performance.now(), method: request.method, path: request.path, kind: error.kind ?? `${error}` });
      }
    }
    conn?.close();
  }

  const all = Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
  return {
    async stop() {
      running = false;
      await all;
      return { ...result, seconds: (performance.now() - result.began) / 1000 };
    },
  };
}

const failure = (kind) => Object.assign(new Error(kind), { kind });

/** Every second request is a POST whose body must come back; one in twenty takes 300 ms. */
function echo(n) {
  if (n % 2 === 1) {
    const body = randomBytes(100 + Math.floor(Math.random() * 8000));
    return { method: 'POST', path: '/echo', body, expected: body };
  }
  const kind = n % 20 === 0 ? 'slow' : 'item';
  return { method: 'GET', path: `/${kind}/${n}`, body: null, expected: Buffer.from(`${kind} ${n}`) };
}

class Conn {
  #data = Buffer.alloc(0);
  #ended = null;
  #wake = null;

  static open(port) {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
      const refuse = (error) => reject(failure(`connect: ${error.code}`));
      socket.once('error', refuse);
      socket.once('connect', () => {
        socket.off('error', refuse);
        resolve(new Conn(socket));
      });
    });
  }

  constructor(socket) {
    this.socket = socket;
    const notify = () => {
      this.#wake?.();
      this.#wake = null;
    };
    socket.on('data', (chunk) => {
      this.#data = this.#data.length === 0 ? chunk : Buffer.concat([this.#data, chunk]);
      notify();
    });
    socket.on('end', () => {
      this.#ended ??= 'closed';
      notify();
    });
    socket.on('error', (error) => {
      this.#ended ??= error.code === 'ECONNRESET' ? 'reset' : error.code;
      notify();
    });
  }

  get usable() {
    return this.#ended === null && this.#data.length === 0;
  }

  close() {
    this.socket.destroy();
    return null;
  }

  async exchange({ method, path, body }) {
    const deadline = setTimeout(() => {
      this.#ended ??= 'timeout';
      this.#wake?.();
    }, TIMEOUT);
    try {
      const length = body === null ? '' : `Content-Type: application/octet-stream\r\nContent-Length: ${body.length}\r\n`;
      const head = Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: rolling\r\n${length}\r\n`);
      this.socket.write(body === null ? head : Buffer.concat([head, body]));
      return await this.#answer();
    } finally {
      clearTimeout(deadline);
    }
  }

  async #answer() {
    let end;
    while ((end = this.#data.indexOf('\r\n\r\n')) < 0) await this.#more('before any answer');
    const head = this.#data.toString('latin1', 0, end);
    const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) throw failure('an answer without Content-Length');
    while (this.#data.length < end + 4 + length) await this.#more('in mid-answer');
    const body = this.#data.subarray(end + 4, end + 4 + length);
    this.#data = this.#data.subarray(end + 4 + length);
    return { status: Number(head.slice(9, 12)), body, closes: /^connection: *close/im.test(head) };
  }

  async #more(when) {
    if (this.#ended) throw failure(this.#data.length > 0 ? `${this.#ended} in mid-answer` : `${this.#ended} ${when}`);
    await new Promise((resolve) => (this.#wake = resolve));
  }
}
