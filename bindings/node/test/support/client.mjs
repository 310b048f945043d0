// A raw HTTP/1.1 client: says exactly what arrived and how the connection ended, and never retries.
import net from 'node:net';
import tls from 'node:tls';

/** Opens a connection to a port, or to the path of a Unix socket; resolves once it can carry bytes (after the handshake for TLS). */
export function connect(port, { secure = false, host = '127.0.0.1' } = {}) {
  const where = String(port).includes('/') ? { path: port } : { port, host };
  const socket = secure
    ? tls.connect({ ...where, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
    : net.connect(where);
  const conn = new Connection(socket);
  return new Promise((resolve, reject) => {
    socket.once(secure ? 'secureConnect' : 'connect', () => resolve(conn));
    socket.once('error', reject);
  });
}

/** One request on a connection of its own; resolves with the response. */
export async function request(port, path = '/fast', options = {}) {
  const conn = await connect(port, options);
  try {
    return await conn.request(path, options);
  } finally {
    conn.destroy();
  }
}

export class Connection {
  #chunks = [];
  #waiting = null;
  #ending = null; // 'end' | an error code

  constructor(socket) {
    this.socket = socket;
    this.received = 0;
    socket.on('data', (chunk) => {
      this.received += chunk.length;
      this.#chunks.push(chunk);
      this.#wake();
    });
    const ended = (how) => {
      this.#ending ??= how;
      this.#wake();
    };
    socket.on('end', () => ended('end'));
    socket.on('error', (error) => ended(error.code ?? error.message));
    /** Resolves with `{ how, at }`: 'end' for a clean end of stream, otherwise the error code. */
    this.closed = new Promise((resolve) => {
      const settle = () => {
        ended('destroyed');
        resolve({ how: this.#ending, at: performance.now() });
      };
      socket.on('end', settle);
      socket.on('close', settle);
    });
  }

  /** Whether the server has ended it. */
  get ended() {
    return this.#ending !== null;
  }

  #wake() {
    this.#waiting?.();
    this.#waiting = null;
  }

  write(text) {
    this.socket.write(text);
  }

  destroy() {
    this.socket.destroy();
  }

  /** Writes a request and reads its response. */
  async request(path, options = {}) {
    this.write(head(path, options) + (options.body ?? ''));
    return this.response(options);
  }

  /**
   * Reads one response. Fails with `error.received` (what had come) when the connection ends first.
   * `between`, awaited after each piece of the body, makes the reader slow.
   */
  async response({ between } = {}) {
    const { status, headers } = await this.#head();
    let body;
    if (status === 100 || status === 101 || status === 204) body = Buffer.alloc(0);
    else if (/chunked/i.test(headers['transfer-encoding'] ?? '')) body = await this.#chunked();
    else if (headers['content-length'] !== undefined) body = await this.#exactly(Number(headers['content-length']), between);
    else body = await this.#untilEnd();
    return { status, headers, body, text: body.toString(), closes: /close/i.test(headers.connection ?? ''), at: performance.now() };
  }

  /** Resolves with the text received so far once it contains `pattern`. */
  async until(pattern) {
    for (;;) {
      const text = Buffer.concat(this.#chunks).toString();
      if (text.includes(pattern)) {
        this.#chunks = [];
        return text;
      }
      await this.#more();
    }
  }

  async #more() {
    if (this.#ending) {
      const received = Buffer.concat(this.#chunks).toString('latin1', 0, 200);
      throw Object.assign(new Error(`connection ended (${this.#ending}) in mid-response, having brought ${this.received} bytes, last ${JSON.stringify(received)}`), { received });
    }
    await new Promise((resolve) => (this.#waiting = resolve));
  }

  #take(length) {
    const all = Buffer.concat(this.#chunks);
    this.#chunks = all.length > length ? [all.subarray(length)] : [];
    return all.subarray(0, length);
  }

  async #line(separator) {
    for (;;) {
      const at = Buffer.concat(this.#chunks).indexOf(separator);
      if (at >= 0) return this.#take(at + separator.length).toString('latin1', 0, at);
      await this.#more();
    }
  }

  async #head() {
    const [first, ...lines] = (await this.#line('\r\n\r\n')).split('\r\n');
    const headers = {};
    for (const line of lines) {
      const colon = line.indexOf(':');
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    return { status: Number(first.split(' ')[1]), headers };
  }

  async #exactly(length, between) {
    const parts = [];
    let have = 0;
    while (have < length) {
      if (this.#chunks.length === 0) await this.#more();
      const part = this.#take(between ? Math.min(length - have, 65_536) : length - have);
      have += part.length;
      parts.push(part);
      if (between) {
        this.socket.pause();
        await between(have);
        this.socket.resume();
      }
    }
    return Buffer.concat(parts);
  }

  async #chunked() {
    const parts = [];
    for (;;) {
      const size = Number.parseInt(await this.#line('\r\n'), 16);
      parts.push(await this.#exactly(size));
      await this.#line('\r\n');
      if (size === 0) return Buffer.concat(parts);
    }
  }

  async #untilEnd() {
    const parts = [];
    for (;;) {
      parts.push(...this.#chunks.splice(0));
      if (this.#ending === 'end') return Buffer.concat(parts);
      await this.#more();
    }
  }
}

/** The head of a request. */
export function head(path, { method = 'GET', headers = {}, body } = {}) {
  const all = { Host: 'test', ...(body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }), ...headers };
  return `${method} ${path} HTTP/1.1\r\n${Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}
