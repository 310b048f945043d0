// A keep-alive load generator that costs less than any server under it: every answer of one server has the same length,
// so counting bytes counts answers.
import net from 'node:net';

const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: bench\r\n\r\n');

/** Sends requests on `connections` sockets for `ms`, one in flight on each; resolves with the number answered and the time it took. */
export async function load(port, { connections, ms }) {
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)));
  const length = await answerLength(sockets[0]);
  let answered = 0;
  let running = true;
  for (const socket of sockets) {
    let bytes = 0;
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes < length) return;
      bytes -= length;
      answered += 1;
      if (running) socket.write(REQUEST);
    });
    socket.on('close', () => running && console.error('bench: the server closed a connection under load; the figures of this run are wrong'));
    socket.write(REQUEST);
  }
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, ms));
  running = false;
  const took = performance.now() - began;
  for (const socket of sockets) socket.destroy();
  return { answered, seconds: took / 1000 };
}

function open(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** The length of one whole answer, from a first request. */
function answerLength(socket) {
  return new Promise((resolve) => {
    socket.once('data', (chunk) => {
      if (!chunk.toString('latin1').endsWith('\r\n\r\nok')) throw new Error(`bench: the first answer did not come in one piece: ${chunk}`);
      resolve(chunk.length);
    });
    socket.write(REQUEST);
  });
}
