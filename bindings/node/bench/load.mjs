// A keep-alive load generator that costs less than any server under it.
import net from 'node:net';

/** Sends requests on `connections` sockets for `ms`; resolves with the number answered and the time it took. `protocol` is http or h2c. */
export async function load(port, { connections, ms, protocol }) {
  const clients = await connect(port, { connections, protocol });
  const began = performance.now();
  const answered = await clients.ask(new Promise((resolve) => setTimeout(resolve, ms)));
  const took = performance.now() - began;
  clients.leave();
  return { answered, seconds: took / 1000 };
}

/**
 * Opens `connections` sockets. `ask(until)` sends requests, one in flight on each, until that promise resolves, or so many, and resolves
 * with how many were answered.
 */
export async function connect(port, { connections, protocol }) {
  const begin = { http, h2c }[protocol];
  let limit;
  let asked;
  let answered;
  let enough;
  let gone = false;
  const next = (client) => {
    if (asked >= limit) return;
    asked += 1;
    client.ask();
  };
  const clients = await Promise.all(Array.from({ length: connections }, async () => {
    const socket = await open(port);
    const client = { socket };
    client.ask = begin(socket, () => {
      answered += 1;
      if (answered === limit) enough();
      else next(client);
    });
    socket.on('close', () => gone || console.error('bench: the server closed a connection under load; the figures of this run are wrong'));
    return client;
  }));
  return {
    async ask(until) {
      asked = answered = 0;
      limit = typeof until === 'number' ? until : Infinity;
      const all = new Promise((resolve) => (enough = resolve));
      clients.forEach(next);
      await (typeof until === 'number' ? all : until);
      limit = 0;
      return answered;
    },
    leave() {
      gone = true;
      for (const { socket } of clients) socket.destroy();
    },
  };
}

function open(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** HTTP/1.1. Every answer of one server has the same length, so counting bytes counts answers. */
function http(socket, onAnswer) {
  const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: bench\r\n\r\n');
  let length;
  let first = '';
  let bytes = 0;
  socket.on('data', (chunk) => {
    length ??= wholeAnswer((first += chunk.toString('latin1')));
    bytes += chunk.length;
    if (!length || bytes < length) return;
    bytes -= length;
    onAnswer();
  });
  return () => socket.write(REQUEST);
}

/** The length of an answer, once its end is there: a head and `ok`. */
function wholeAnswer(text) {
  return text.endsWith('\r\n\r\nok') ? text.length : undefined;
}

/** HTTP/2 without TLS. Only the heads of frames are looked at: a frame that ends its stream is an answer (RFC 9113 §4.1). */
function h2c(socket, onAnswer) {
  const [DATA, HEADERS, SETTINGS, WINDOW_UPDATE, END_STREAM, END_HEADERS, ACK] = [0, 1, 4, 8, 1, 4, 1];
  const frame = (type, flags, stream, payload = Buffer.alloc(0)) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  // GET, http, / of HPACK's static table; the authority as a literal that is not indexed.
  const request = frame(HEADERS, END_STREAM | END_HEADERS, 1, Buffer.from([0x82, 0x86, 0x84, 0x01, 5, ...Buffer.from('bench')]));
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(SETTINGS, 0, 0));
  socket.write(frame(WINDOW_UPDATE, 0, 0, Buffer.from([0x7f, 0, 0, 0])));
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (rest.length - at >= 9) {
      const length = rest.readUIntBE(at, 3);
      if (rest.length - at < 9 + length) break;
      const [type, flags] = [rest[at + 3], rest[at + 4]];
      at += 9 + length;
      if (type === SETTINGS && !(flags & ACK)) socket.write(frame(SETTINGS, ACK, 0));
      if ((type === DATA || type === HEADERS) && flags & END_STREAM) onAnswer();
    }
    rest = rest.subarray(at);
  });
  let stream = 1;
  return () => {
    const next = Buffer.from(request);
    next.writeUInt32BE(stream, 5);
    stream += 2;
    socket.write(next);
  };
}
