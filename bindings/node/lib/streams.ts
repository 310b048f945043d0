// The streams in flight of an HTTP/2 session, counted where Node itself keeps them.
import type { IncomingMessage } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { isMap } from 'node:util/types';

import { coarse } from './clock.js';
import type { Connection } from './connections.js';
import { connectionOf } from './tracked.js';

/** By their ids; those that a client opened have odd ones (RFC 9113 §5.1.1). */
export type Streams = Map<number, ServerHttp2Stream>;
type Counted = Streams & { [connectionOf]?: Connection };

const arrival = Symbol('lameduck.arrival');
type Arrived = ServerHttp2Stream & { [arrival]?: { headers: IncomingHttpHeaders; since: number } };

const insert = Map.prototype.set;
const remove = Map.prototype.delete;

/**
 * Counts the streams of a connection in its row of the ledger, until the hand-over. A listener on each stream would be the
 * plain way; it costs 2 % of a small request, this costs nothing that can be measured. Without `session`, or where Node no longer
 * keeps its streams as it does, they are in a map of ours, in which whoever sees them puts them.
 */
export function countStreams(connection: Connection, session?: ServerHttp2Session): Streams {
  const streams: Counted = (session && nodesOf(session)) ?? new Map();
  Object.defineProperty(streams, connectionOf, { value: connection });
  Object.defineProperty(streams, 'set', { value: counted });
  Object.defineProperty(streams, 'delete', { value: discounted });
  for (const id of streams.keys()) if (isClients(id)) connection.begin();
  return streams;
}

/** Those that the client opened. */
export function* clientStreams(streams: Streams): Iterable<ServerHttp2Stream> {
  for (const [id, stream] of streams) if (isClients(id)) yield stream;
}

/** A stream is handed out: what is to be known of it, should it be in flight at the hand-over. */
export function arrive(stream: Arrived, headers: IncomingHttpHeaders, since: number): void {
  stream[arrival] = { headers, since };
}

/** Whether it was handed out, whatever became of it. */
export function hasArrived(stream: object): boolean {
  return arrival in stream;
}

/** As much of a request as its label needs, and since when. One that is not handed out yet is known by its number. */
export function arrivalOf(stream: Arrived): { request: IncomingMessage; since: number } {
  const { headers, since } = stream[arrival] ?? { headers: {}, since: coarse.now };
  const { ':method': method = 'stream', ':path': url = String(stream.id) } = headers;
  return { request: { method, url } as IncomingMessage, since };
}

function isClients(id: number): boolean {
  return (id & 1) === 1;
}

function counted(this: Counted, id: number, stream: ServerHttp2Stream): Counted {
  const connection = this[connectionOf]!;
  if (isClients(id) && connection.streams === this) connection.begin();
  return insert.call(this, id, stream) as Counted;
}

function discounted(this: Counted, id: number): boolean {
  const was = remove.call(this, id);
  const connection = this[connectionOf]!;
  if (was && isClients(id) && connection.streams === this) {
    connection.end();
    if (this.size === 0) connection.linger?.();
  }
  return was;
}

/** Node's own map, unless somebody else counts in it. */
function nodesOf(session: ServerHttp2Session): Streams | undefined {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  const state = symbol && (session as unknown as Record<symbol, { streams?: unknown }>)[symbol];
  const streams = state?.streams;
  return isMap(streams) && !Object.hasOwn(streams, 'set') ? (streams as Streams) : undefined;
}
