// What a held client is served: an event stream that goes on without end, and a WebSocket that echoes.
import { WebSocketServer } from 'ws';

/** Sends a number five times a second. */
export function sendEvents(res) {
  // nginx passes on at once what it would else collect.
  res.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' });
  let n = 0;
  const timer = setInterval(() => res.write(`data: ${n++}\n\n`), 200);
  res.on('close', () => clearInterval(timer));
}

export function echoMessages(server) {
  new WebSocketServer({ server, path: '/socket' }).on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('error', () => {});
  });
}
