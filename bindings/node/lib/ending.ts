// How each thing on a connection is brought to its end.

import type { ServerResponse } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

import type { Connection, Exchange } from './connections.js';
import type { Mark } from './kinds.js';
import { closeWebSocket } from './websockets.js';

const RETRY_AFTER_SECONDS = 1;
const UNAVAILABLE = 'the server is shutting down\n';
/** RFC 9113 §7 */
const NO_ERROR = 0;
const INTERNAL_ERROR = 2;
/** How long the last answer on a connection may take to leave the process. */
const LAST_WORDS_MS = 250;
/** When the client of an event stream shall come back, unless the program says otherwise. */
export const RETRY_MS = 1_000;

/** Answers 503, tells the client to go away, and takes the response from the application. */
export function answerUnavailable(response: ServerResponse): void {
  response.shouldKeepAlive = false;
  response.writeHead(503, {
    'content-type': 'text/plain',
    'retry-after': String(RETRY_AFTER_SECONDS),
    connection: 'close',
  });
  response.end(UNAVAILABLE);
  takeAway(response);
}

/** The same on a stream; its connection is told otherwise. */
export function answerStreamUnavailable(stream: ServerHttp2Stream): void {
  stream.resume();
  if (stream.destroyed || stream.closed) return;
  stream.respond({
    ':status': 503,
    'content-type': 'text/plain',
    'retry-after': String(RETRY_AFTER_SECONDS),
  });
  stream.end(UNAVAILABLE);
  takeAway(stream);
}

/** Ends a stream as its protocol does, so that its client reconnects instead of failing. */
export function endStream(exchange: Exchange, mark: Mark | undefined): void {
  const answer = exchange.stream ?? exchange.response;
  if (!answer || answer.writableEnded) return;
  exchange.outcome = 'ended';
  // Whoever writes it has the last word, and may end it.
  mark?.controller.abort(new Error('the server is draining and ends this stream'));
  if (answer.writableEnded || answer.destroyed) return;
  // A tunnel through HTTP/2 may be open without an answer.
  if (exchange.stream && !exchange.headersSent) exchange.stream.close(NO_ERROR);
  else answer.end(goodbye(exchange, mark?.retry ?? RETRY_MS));
  takeAway(answer);
}

/**
 * What an event stream ends with: when to come back, differently for each client. In the middle of
 * an event it is harmless: the colon makes a line of what precedes it, and without an empty line
 * nobody gets half an event (HTML Living Standard §9.2.6).
 */
function goodbye(exchange: Exchange, retry: number): string | undefined {
  const plain = exchange.sent('content-encoding') === undefined;
  if (retry === 0 || !plain || !exchange.sent('content-type')?.startsWith('text/event-stream')) return undefined;
  return `:\nretry: ${Math.round(retry * (0.5 + Math.random()))}\n`;
}

/** Says that it ends; the peer answers, or is cut after its allowance. */
export function endUpgraded({ protocol, socket }: Connection, closeCode: number): void {
  if (socket.destroyed || socket.writableEnded) return;
  if (protocol === 'websocket') closeWebSocket(socket, closeCode);
  else socket.end();
}

/**
 * Half-closes and goes on reading: closing with unread bytes would reset the connection
 * and eat the response (RFC 9112 §9.6).
 */
export function halfClose(connection: Connection): void {
  connection.closing = true;
  if (connection.session) connection.session.close();
  else connection.socket.end();
}

/**
 * Makes the server's own close after a response that announced a lingering one: Node's
 * closes at once, and with unread bytes that is a reset.
 */
export function lingerAfterResponse(socket: Socket): void {
  socket.destroySoon = () => socket.end();
}

/** Its time is over. */
export function force(connection: Connection): void {
  const { session, socket } = connection;
  if (session) {
    for (const { headersSent, stream } of [...connection.exchanges]) {
      if (headersSent) stream?.close(INTERNAL_ERROR);
      else if (stream) answerStreamUnavailable(stream);
    }
    session.close();
    setTimeout(() => socket.destroy(), LAST_WORDS_MS).unref();
    return;
  }
  let answered = false;
  for (const { response } of [...connection.exchanges]) {
    if (!response || response.headersSent || response.socket !== socket) break;
    answerUnavailable(response);
    answered = true;
  }
  if (answered) endSoon(socket);
  else socket.destroy();
}

/** As Node itself ends a request that took too long to arrive. */
export function timeOut({ exchanges, socket }: Connection): void {
  if (socket.writableEnded) return;
  if (!exchanges.some(({ response }) => response?.headersSent)) {
    socket.write('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n');
  }
  endSoon(socket);
}

function endSoon(socket: Socket): void {
  socket.end();
  setTimeout(() => socket.destroy(), LAST_WORDS_MS).unref();
}

/** From here on whatever the application does with its answer is ignored, not an error. */
function takeAway(answer: ServerResponse | ServerHttp2Stream): void {
  const ignored = () => answer;
  Object.assign(answer, {
    respond: ignored,
    respondWithFD: ignored,
    respondWithFile: ignored,
    additionalHeaders: ignored,
    writeHead: ignored,
    setHeader: ignored,
    appendHeader: ignored,
    removeHeader: ignored,
    flushHeaders: ignored,
    write: () => false,
    end: ignored,
  });
}
