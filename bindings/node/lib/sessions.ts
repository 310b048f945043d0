// HTTP/2: a connection carries many requests, and its peer is told twice that it closes (RFC 9113 §6.8).
import type { Server } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Server as NetServer } from 'node:net';

import { coarse } from './clock.js';
import type { Connection, Exchange } from './connections.js';
import { answerStreamUnavailable } from './ending.js';
import { native } from './native.js';
import { arrivalOf, arrive, countStreams, hasArrived } from './streams.js';
import { connectionOf, type Tracked } from './tracked.js';
import type { Owner } from './traffic.js';

const NO_ERROR = 0;
/** How often a peer that reads slowly is looked at, whether there is room for a notice. */
const ROOM_MS = 50;
/** How long a session stays after its last stream: a peer may still be reading what it has received. */
const LINGER_MS = 250;
/** The first GOAWAY: it names the highest stream there can be, so what is under way is served. */
const SHUTDOWN_NOTICE = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
const exchangeOf = Symbol('lameduck.exchange');

type Stream = ServerHttp2Stream & { [exchangeOf]?: Exchange };
/** A session knows its connection: what Node shows of its socket is a proxy, which costs more to ask. */
type Session = ServerHttp2Session & { [connectionOf]?: Connection };

/** Whether the server speaks HTTP/2; Node does not export these classes. */
export function speaksHttp2(server: NetServer): boolean {
  return /^Http2(Secure)?Server$/.test(kindOf(server));
}

/** Whether it speaks nothing else. */
export function speaksOnlyHttp2(server: NetServer): boolean {
  return kindOf(server) === 'Http2Server';
}

function kindOf(server: object): string {
  for (let kind = server; kind; kind = Object.getPrototypeOf(kind) as object) {
    const { name } = kind.constructor;
    if (name === 'Http2Server' || name === 'Http2SecureServer') return name;
  }
  return '';
}

/** Watches the sessions of all servers, and their streams. */
export class Sessions {
  readonly #owner: Owner;
  readonly #connected: (socket: Tracked, server: Server) => Connection;
  /** Streams that have closed while bytes of theirs were still in the process. */
  readonly #unsent = new Map<Connection, number[]>();

  constructor(owner: Owner, connected: (socket: Tracked, server: Server) => Connection) {
    this.#owner = owner;
    this.#connected = connected;
  }

  /** A connection speaks HTTP/2 from now on. */
  began(session: ServerHttp2Session, server: Server): Connection {
    // What Node shows of the socket refuses much; this returns the socket itself.
    const socket = session.socket.on('close', () => {}) as Tracked & { stream?: Tracked };
    // One that is made in JavaScript stands for the one that the server was given.
    const connection = (socket[connectionOf] ?? socket.stream?.[connectionOf]) ?? this.#connected(socket, server);
    connection.session = session;
    (session as Session)[connectionOf] = connection;
    if (!connection.isHandedOver) connection.streams = countStreams(connection, session);
    lingerAtClose(connection, session);
    if (connection.protocol !== 'http2' && connection.upgrade('http2')) {
      this.#owner.driver.connectionUpgraded(connection.handle, 'http2');
      this.#owner.pump();
    }
    return connection;
  }

  /** A stream came; whether the application is to have it. */
  arrived(stream: Stream, headers: IncomingHttpHeaders, server: Server): boolean {
    const session = stream.session as Session | undefined;
    if (!session || session.destroyed) return true;
    const connection = session[connectionOf] ?? this.began(session, server);
    if (connection.closed) return true;
    const { health } = this.#owner;
    connection.used = true;
    const { streams } = connection;
    arrive(stream, headers, streams ? coarse.now : performance.now());
    if (!streams) {
      if (!this.#cameLate(stream, connection)) return true;
      if (stream[exchangeOf]!.outcome === 'refused') {
        if (!health.enabled || !health.answerStream(stream, headers)) answerStreamUnavailable(stream);
        return false;
      }
    } else if (!streams.has(stream.id!) && !stream.destroyed) {
      streams.set(stream.id!, stream);
      stream.on('close', () => streams.delete(stream.id!));
    }
    return !(health.enabled && health.answerStream(stream, headers));
  }

  /** A stream that is handed out after the hand-over; whether it counts. */
  #cameLate(stream: Stream, connection: Connection): boolean {
    const adopted = stream[exchangeOf];
    if (adopted) {
      // It was in flight already, and nothing else was known of it.
      adopted.request = arrivalOf(stream).request;
      this.#owner.kinds.describe(adopted);
      this.#owner.pump();
      return true;
    }
    const exchange = connection.exchangeOf(stream);
    stream[exchangeOf] = exchange;
    connection.begin();
    connection.exchanges.push(exchange);
    if (!this.#admit(exchange)) return false;
    stream.on('close', this.#closed);
    return true;
  }

  /**
   * A stream that came after the hand-over; whether the machine takes it. One that was parsed before
   * the final GOAWAY left is named by it as processed: it is served, whether it counts or not.
   */
  #admit(exchange: Exchange): boolean {
    const { connection } = exchange;
    const { driver } = this.#owner;
    exchange.id = connection.nextId++;
    const refused = driver.requestStarted(connection.handle, exchange.id, this.#owner.kinds.of(exchange));
    if (connection.announced || connection.closing || refused !== null) {
      connection.remove(exchange);
      connection.end();
      this.#owner.pump();
      return false;
    }
    this.#owner.describePeer(connection);
    this.#owner.kinds.describe(exchange);
    this.#watchHead(exchange);
    this.#owner.pump();
    return true;
  }

  /** After the hand-over: tells the machine what the ledger could not say. */
  handedOver(exchange: Exchange): void {
    const stream = exchange.stream as Stream;
    stream[exchangeOf] = exchange;
    stream.on('close', this.#closed);
    this.#owner.kinds.describe(exchange);
    const { connection, headersSent, id } = exchange;
    if (headersSent) this.#owner.driver.requestHeadersSent(connection.handle, id, false);
    else this.#watchHead(exchange);
  }

  /** Whether this is a stream that a client opened, whatever became of it. */
  knows(stream: object): boolean {
    return hasArrived(stream);
  }

  /** This request, if it is in flight. */
  find(stream: Stream): Exchange | undefined {
    const connection = (stream.session as Session | undefined)?.[connectionOf];
    if (connection?.streams?.get(stream.id!) === stream) return connection.exchangeOf(stream);
    const exchange = stream[exchangeOf];
    return exchange?.connection.exchanges.includes(exchange) ? exchange : undefined;
  }

  /**
   * The first GOAWAY: open no more streams here. After any GOAWAY of Node's own, whatever it
   * names, nghttp2 ignores new streams without a word; so this one goes to the socket, between
   * two frames. Where that is not possible, under TLS and on a socket that is made in JavaScript, the GOAWAY goes
   * with a response, as HTTP/1 announces, and at the latest when streams are refused.
   */
  announce(connection: Connection): void {
    const { session, socket } = connection;
    connection.told = true;
    const descriptor = descriptorBelow(connection);
    if (descriptor === undefined) return;
    const say = () => {
      if (!isOpen(session) || connection.announced) return;
      // A write that has to wait ends as one of the session's, which aborts the process or frees what is still being written.
      if (connection.unsent === 0 && native.hasRoom(descriptor)) socket.write(SHUTDOWN_NOTICE);
      else setTimeout(say, ROOM_MS).unref();
    };
    // Nothing may come before the server's settings; once they are acknowledged, they came.
    if (session?.pendingSettingsAck) session.once('localSettings', say);
    else say();
  }

  /** The final GOAWAY names the last stream that is served. */
  refuseStreams(connection: Connection): void {
    connection.announced = true;
    // After the streams that were parsed already and that the application does not have yet.
    process.nextTick(() => goAway(connection));
  }

  /** Looks whether bytes that were still in the process have left it. */
  flush(): void {
    for (const [connection, requests] of this.#unsent) {
      if (!connection.closed && connection.unsent > 0) continue;
      this.#unsent.delete(connection);
      if (connection.closed) continue;
      for (const id of requests) this.#owner.driver.requestFlushed(connection.handle, id);
    }
  }

  /** Tells the machine when the head of the answer is written. */
  #watchHead(exchange: Exchange): void {
    const { connection, id } = exchange;
    const stream = exchange.stream as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const name of ['respond', 'respondWithFD', 'respondWithFile']) {
      const respond = stream[name]!;
      stream[name] = (...args) => {
        const { told, exchanges } = connection;
        if (told && exchanges.length === 1 && descriptorBelow(connection) === undefined) goAway(connection);
        const result = respond.apply(stream, args);
        if (!exchange.headersSent || connection.closed) return result;
        this.#owner.driver.requestHeadersSent(connection.handle, id, false);
        this.#owner.kinds.review(exchange);
        this.#owner.pump();
        return result;
      };
    }
  }

  readonly #closed = ((sessions: Sessions) =>
    function (this: Stream): void {
      sessions.#ended(this[exchangeOf]!, this);
    })(this);

  #ended(exchange: Exchange, stream: Stream): void {
    const { connection, id } = exchange;
    if (connection.closed) return;
    connection.remove(exchange);
    if (connection.exchanges.length === 0) connection.linger?.();
    connection.end();
    // Not `writableFinished`: of a short answer it comes after the close.
    const answered = stream.writableEnded && !stream.aborted && stream.rstCode === NO_ERROR;
    const outcome = answered ? (exchange.outcome ?? 'completed') : 'client_gone';
    const flushed = connection.unsent === 0;
    this.#owner.driver.requestFinished(connection.handle, id, outcome, flushed);
    if (!flushed) this.#unsent.set(connection, [...(this.#unsent.get(connection) ?? []), id]);
    this.#owner.pump();
  }
}

/** The socket's, if what is written to the one is what goes through the other. */
function descriptorBelow({ socket }: Connection): number | undefined {
  const { encrypted, _handle } = socket as { encrypted?: boolean; _handle?: { fd?: unknown } | null };
  return !encrypted && typeof _handle?.fd === 'number' && _handle.fd >= 0 ? _handle.fd : undefined;
}

function isOpen(session: ServerHttp2Session | undefined): session is ServerHttp2Session {
  return session !== undefined && !session.closed && !session.destroyed;
}

/**
 * Makes a session's own `close()` one that lingers. Node's ends the connection in the turn in which its last stream ends, or
 * in which the peer's GOAWAY comes. Then peers lose what they have not read (Node's own client does), and a stream that is on its way
 * is reset while nghttp2 is reading it, which before Node 22 goes on with freed memory.
 */
function lingerAtClose(connection: Connection, session: ServerHttp2Session): void {
  const close = session.close.bind(session);
  const look = () => {
    if (connection.inFlight().length > 0) return; // the end of the last one comes back here
    if (connection.unsent > 0 && !session.destroyed) linger();
    else close();
  };
  const linger = () => void setTimeout(look, LINGER_MS).unref();
  session.close = (callback) => {
    if (!isOpen(session)) return;
    if (callback) session.once('close', callback);
    if (connection.linger) return;
    connection.linger = linger;
    session.goaway(NO_ERROR);
    linger();
  };
}

function goAway({ session }: Connection): void {
  if (isOpen(session)) session.goaway(NO_ERROR);
}
