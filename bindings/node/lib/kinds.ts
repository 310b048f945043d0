// What kind of request it is, which decides how it ends (core/src/manner.rs).

import type { IncomingMessage } from 'node:http';
import { constants, type ServerHttp2Stream } from 'node:http2';

import type { Exchange } from './connections.js';
import type { Driver } from './native.js';
import { native } from './native.js';

/** The kinds by the machine's names. */
export type Kind = 'long_poll' | 'ordinary' | 'stream' | 'upload';

/** What the program said of one request. */
export interface Mark {
  kind: Kind;
  /** Fires when it is to end. */
  controller: AbortController;
  /** Of an event stream: when its client shall come back, in milliseconds; 0 says nothing. */
  retry: number;
}

/** The kinds of requests, and what the machine knows of them. */
export class Kinds {
  readonly #driver: Driver;
  /** By the request, or its stream. */
  readonly #marks = new WeakMap<object, Mark>();
  /** The machine's time when `performance.now()` was 0, in nanoseconds. */
  #origin: bigint | undefined;

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  mark(key: object, mark: Mark): void {
    this.#marks.set(key, mark);
  }

  markOf(key: object): Mark | undefined {
    return this.#marks.get(key);
  }

  /** What the program said, or else what its bytes say. */
  of(exchange: Exchange): Kind {
    const { key, request, response, stream } = exchange;
    const mark = this.#marks.get(key);
    if (mark) return mark.kind;
    // A tunnel through HTTP/2 (RFC 8441).
    if (stream && request.method === 'CONNECT') return 'stream';
    if (isEndless(exchange)) return 'stream';
    const arriving = stream ? isOpen(stream) : response !== undefined && isUploading(request);
    return arriving ? 'upload' : 'ordinary';
  }

  /** Tells the machine what the request is, and since when it has been in flight. */
  describe(exchange: Exchange): void {
    const { connection, id, label, since } = exchange;
    exchange.kind = this.of(exchange);
    this.#origin ??= native.now() - nanoseconds(performance.now());
    this.#driver.requestDescribed(connection.handle, id, exchange.kind, label, this.#origin + nanoseconds(since));
  }

  /** The same if it has become something else. */
  review(exchange: Exchange): void {
    if (this.of(exchange) !== exchange.kind) this.describe(exchange);
  }
}

function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds * 1e6));
}

/**
 * Whether the answer is an event stream that goes on without end. Not when it says how long it
 * is; and not in answer to a POST: that is how models stream an answer, which has an end.
 */
function isEndless(exchange: Exchange): boolean {
  if (exchange.request.method !== 'GET' || exchange.sent('content-length') !== undefined) return false;
  return exchange.sent('content-type')?.startsWith('text/event-stream') ?? false;
}

/** Whether its body is still on the way. */
function isUploading({ headers, complete }: IncomingMessage): boolean {
  if (complete) return false;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** The same over HTTP/2. */
function isOpen(stream: ServerHttp2Stream): boolean {
  if (stream.endAfterHeaders || stream.destroyed) return false;
  return stream.state.state === constants.NGHTTP2_STREAM_STATE_OPEN;
}
