import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

import { type Connection, type Connections, Exchange, type Protocol } from './connections.js';
import { answerUnavailable, lingerAfterResponse, timeOut } from './ending.js';
import type { Health } from './health.js';
import { forRequest } from './jobs.js';
import type { Kinds } from './kinds.js';
import { type Driver, native } from './native.js';
import { Sessions, speaksHttp2, speaksOnlyHttp2 } from './sessions.js';
import { connectionOf, type Tracked } from './tracked.js';
import { followFrames } from './websockets.js';

/** The events that hand a request out, beside `request` itself. */
const REQUESTS = ['checkContinue', 'checkExpectation', 'connect', 'stream', 'upgrade'];

/** A response whose end is watched knows its connection: a `pipeline()` that fails takes the request's socket away. */
type Response = ServerResponse & { _header?: string; [connectionOf]?: Connection };

/** What traffic needs of its owner. */
export interface Owner {
  readonly driver: Driver;
  readonly connections: Connections;
  readonly health: Health;
  readonly kinds: Kinds;
  /** Does what the machine decided meanwhile. */
  pump(): void;
  /** Tells the machine who is at the other end, once. */
  describePeer(connection: Connection): void;
  /** Whether it may. */
  listening(server: Server): boolean;
  unlistening(server: Server): void;
  /** It may not begin to. */
  forbid(server: Server): void;
}

/**
 * Watches a server's connections and requests. It stands in `server.emit`, not among the
 * listeners: there it sees everything first, nobody's `removeAllListeners` removes it, and
 * Node's defaults for events without listeners stay what they are.
 */
export class Traffic {
  readonly #owner: Owner;
  readonly #servers: Server[] = [];
  readonly sessions: Sessions;
  /** When the hand-over was. */
  #drainedAt: number | undefined;

  constructor(owner: Omit<Owner, 'describePeer'>) {
    this.#owner = { ...owner, describePeer: (connection) => this.#describePeer(connection) };
    this.sessions = new Sessions(this.#owner, (socket, server) => this.#of(socket, server));
  }

  attach(server: Server): void {
    this.#servers.push(server);
    const traffic = this;
    const emit = server.emit as (...args: unknown[]) => boolean;
    const health = this.#owner.health.enabled ? this.#owner.health : undefined;
    const http2 = speaksHttp2(server);
    // No rest parameters: this runs for every request, and an array each is what it would cost.
    server.emit = function (this: Server, event: string, a: unknown, b: unknown): boolean {
      if (event === 'request') {
        // A stream was seen before it became a request.
        if (http2 && isStreams(a)) return emit.call(this, event, a, b);
        if (!traffic.#begin(a as IncomingMessage, b as Response, this)) return true;
        if (health?.answer(a as IncomingMessage, b as Response)) return true;
        if (traffic.#drainedAt !== undefined) return forRequest(() => emit.call(this, event, a, b));
        return emit.call(this, event, a, b);
      }
      if (!traffic.#other(this, event, a, b)) return true;
      if (traffic.#drainedAt === undefined || !REQUESTS.includes(event)) return emit.apply(this, arguments as never);
      return forRequest(() => emit.apply(this, arguments as never));
    } as Server['emit'];
    if (server.listening) this.#owner.listening(server);
  }

  /** Any event but a request; whether the server's listeners are to have it. */
  #other(server: Server, event: string, a: unknown, b: unknown): boolean {
    switch (event) {
      case 'checkContinue':
      case 'checkExpectation':
        return isStreams(a) || this.#begin(a as IncomingMessage, b as Response, server);
      case 'connection':
        this.#connected(a as Tracked, server);
        return true;
      case 'secureConnection':
        this.#secured(a as Tracked, server);
        return true;
      case 'session':
        this.sessions.began(a as ServerHttp2Session, server);
        return true;
      case 'stream':
        return this.sessions.arrived(a as ServerHttp2Stream, b as IncomingHttpHeaders, server);
      case 'connect':
        return isStreams(a) || this.#upgraded(a as IncomingMessage, b as Tracked, 'tunnel', server);
      case 'upgrade': {
        const request = a as IncomingMessage;
        const websocket = request.headers.upgrade?.toLowerCase() === 'websocket';
        return this.#upgraded(request, b as Tracked, websocket ? 'websocket' : 'other', server);
      }
      case 'listening':
        return this.#owner.listening(server);
      case 'close':
        this.#owner.unlistening(server);
        return true;
      default:
        return true;
    }
  }

  /** Whether one of these servers handed out this request, whatever became of it. */
  handedOut(request: object): boolean {
    const stream = (request as { stream?: object }).stream ?? request;
    if (this.sessions.knows(stream)) return true;
    return (request as { socket?: Tracked | null }).socket?.[connectionOf] !== undefined;
  }

  /** Whether a request that was in flight at the hand-over still is. */
  anyAdopted(): boolean {
    for (const { exchanges } of this.#owner.connections.all()) {
      if (exchanges.some(({ since }) => since <= this.#drainedAt!)) return true;
    }
    return false;
  }

  /** This request, if it is in flight. */
  find(request: IncomingMessage | ServerHttp2Stream): Exchange | undefined {
    if (!('socket' in request)) return this.sessions.find(request);
    const socket = request.socket as Tracked | null;
    const connections = socket ? [socket[connectionOf]] : this.#owner.connections.all();
    for (const connection of connections) {
      const found = connection?.inFlight().find((exchange) => exchange.request === request);
      if (found) return found;
    }
    return undefined;
  }

  /** After the hand-over: tells the machine what the ledger could not say. */
  handedOver(): void {
    for (const server of this.#servers) {
      // Whoever calls `server.close()` now would destroy idle connections, unread requests and all.
      server.closeIdleConnections = () => {};
      this.#owner.forbid(server);
    }
    const { driver, connections, kinds } = this.#owner;
    this.#drainedAt = performance.now();
    const between = this.#betweenRequests();
    for (const connection of connections.all()) {
      const { exchanges, handle, socket } = connection;
      connection.handOver();
      connection.mark = this.#markOf(connection, between);
      if (exchanges.length === 0) continue;
      connection.nextId = exchanges.length;
      this.#describePeer(connection);
      for (const [id, exchange] of exchanges.entries()) {
        exchange.id = id;
        if (exchange.stream) {
          this.sessions.handedOver(exchange);
          continue;
        }
        kinds.describe(exchange);
        if (!exchange.response) {
          driver.requestHeadersSent(handle, id, false);
          continue;
        }
        this.#watchEnd(exchange.response, connection);
        if (exchange.response.headersSent) {
          connection.announced ||= announces(exchange.response);
          driver.requestHeadersSent(handle, id, announces(exchange.response));
          if (connection.announced) lingerAfterResponse(socket);
        } else {
          this.#watchHead(exchange);
        }
      }
    }
  }

  /** Node looks only every 30 s, which is longer than a whole shutdown. */
  timeOutRequests(): void {
    const now = performance.now();
    for (const connection of this.#owner.connections.all()) {
      if (connection.session) continue;
      const limit = connection.server.requestTimeout;
      const late = ({ request, since }: Exchange) => !request.complete && now - since > limit;
      if (limit > 0 && connection.exchanges.some(late)) timeOut(connection);
    }
  }

  /** Bodies that were on the way have come. */
  reviewUploads(): void {
    for (const { exchanges } of this.#owner.connections.all()) {
      for (const exchange of exchanges) if (exchange.kind === 'upload') this.#owner.kinds.review(exchange);
    }
  }

  #describePeer(connection: Connection): void {
    if (connection.described) return;
    connection.described = true;
    this.#owner.driver.connectionDescribed(connection.handle, connection.peer);
  }

  /** Whether bytes of a next request have arrived, read by Node or not. */
  busy(connection: Connection): boolean {
    const { socket } = connection;
    const handle = (socket as { _handle?: { fd?: unknown } })._handle;
    const unread = typeof handle?.fd === 'number' ? native.unread(handle.fd) : 0;
    // HTTP/2 speaks of other things than requests, too.
    return (!connection.session && socket.bytesRead > connection.mark) || unread > 0;
  }

  /**
   * Where the connection's next request begins. While serving nobody noted it, so Node's
   * parser is asked whether it has begun one.
   */
  #markOf({ socket, used }: Connection, quiet: Set<Socket> | undefined): number {
    if (!used) return 0;
    return quiet && !quiet.has(socket) ? socket.bytesRead - 1 : socket.bytesRead;
  }

  /** The sockets whose parser is between two requests; `undefined` if Node does not say. */
  #betweenRequests(): Set<Socket> | undefined {
    const sockets = new Set<Socket>();
    for (const server of this.#servers) {
      if (speaksOnlyHttp2(server)) continue;
      const list = parsersOf(server);
      if (!list) return undefined;
      for (const { socket } of list.idle()) if (socket) sockets.add(socket);
    }
    return sockets;
  }

  #connected(socket: Tracked, server: Server): void {
    const { driver, connections } = this.#owner;
    const protocol = speaksOnlyHttp2(server) || socket.alpnProtocol === 'h2' ? 'http2' : 'http1';
    const { connection, event } = connections.open(socket, server, protocol);
    this.#watch(socket, connection);
    if (event) {
      driver.connectionOpened(connection.handle, protocol);
      this.#owner.pump();
    }
  }

  /** TLS is done: what is spoken is spoken on this socket from now on. */
  #secured(socket: Tracked, server: Server): void {
    const connection = socket._parent?.[connectionOf];
    if (!connection || connection.closed) {
      this.#connected(socket, server);
      return;
    }
    connection.socket = socket;
    this.#watch(socket, connection);
  }

  #watch(socket: Tracked, connection: Connection): void {
    socket[connectionOf] = connection;
    socket.on('close', this.#socketClosed);
  }

  #of(socket: Tracked, server: Server): Connection {
    if (!socket[connectionOf]) this.#connected(socket, server);
    return socket[connectionOf]!;
  }

  /** A request was parsed; whether the application is to have it. */
  #begin(request: IncomingMessage, response: Response, server: Server): boolean {
    const connection = (request.socket as Tracked)[connectionOf] ?? this.#of(request.socket, server);
    connection.used = true;
    if (!connection.isHandedOver) {
      if (connection.enter(response)) this.#watchEnd(response, connection);
      return true;
    }
    if (connection.exchanges.some((known) => known.response === response)) return true;
    connection.begin();
    this.#watchEnd(response, connection);
    const exchange = new Exchange(connection, request, response);
    connection.exchanges.push(exchange);
    return this.#admit(exchange);
  }

  /** A request that came after the hand-over; whether the application is to have it. */
  #admit(exchange: Exchange): boolean {
    const { connection, request, response } = exchange;
    const { driver, kinds } = this.#owner;
    exchange.id = connection.nextId++;
    const refused = driver.requestStarted(connection.handle, exchange.id, kinds.of(exchange));
    if (connection.announced || connection.closing || refused !== null) {
      connection.exchanges.splice(connection.exchanges.indexOf(exchange), 1);
      connection.end();
      request.resume();
      this.#owner.pump();
      return false;
    }
    this.#describePeer(connection);
    kinds.describe(exchange);
    if (response) this.#watchHead(exchange);
    this.#owner.pump();
    return exchange.outcome !== 'refused';
  }

  /** The machine refuses this request; probes are answered all the same. */
  refuse(exchange: Exchange): void {
    const { request, response, connection } = exchange;
    exchange.outcome = 'refused';
    if (exchange.stream) return; // answered where it arrived
    if (!response) {
      connection.socket.end('HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n');
    } else if (this.#owner.health.enabled && this.#owner.health.answer(request, response)) {
      request.resume();
    } else {
      request.resume();
      answerUnavailable(response);
    }
  }

  /** Decides on `Connection: close` when the head is written, and tells the machine. */
  #watchHead(exchange: Exchange): void {
    const { connection } = exchange;
    const response = exchange.response as Response;
    const writeHead = response.writeHead as (...args: unknown[]) => ServerResponse;
    response.writeHead = ((...args: unknown[]) => {
      const isLast = connection.exchanges.at(-1) === exchange;
      if (connection.told && isLast) response.shouldKeepAlive = false;
      const result = writeHead.apply(response, args);
      const announced = announces(response);
      connection.announced ||= announced;
      if (connection.announced) lingerAfterResponse(connection.socket);
      const { driver, kinds } = this.#owner;
      driver.requestHeadersSent(connection.handle, exchange.id, announced);
      kinds.review(exchange);
      this.#owner.pump();
      return result;
    }) as Response['writeHead'];
  }

  #upgraded(request: IncomingMessage, socket: Tracked, protocol: Protocol, server: Server): boolean {
    const connection = this.#of(socket, server);
    // One server may hand its upgrades to another (Fastify does, for a second address family).
    if (connection.exchanges.some((known) => known.request === request)) return true;
    const exchange = new Exchange(connection, request, undefined);
    connection.exchanges.push(exchange);
    connection.used = true;
    const event = connection.begin();
    connection.upgrade(protocol);
    if (protocol === 'websocket') followFrames(socket);
    if (!event) return true;
    const admitted = this.#admit(exchange);
    if (admitted) {
      this.#owner.driver.connectionUpgraded(connection.handle, protocol);
      // What is written from here on is the program's own.
      this.#owner.driver.requestHeadersSent(connection.handle, exchange.id, false);
      this.#owner.pump();
    } else {
      socket.destroySoon();
    }
    return admitted;
  }

  #watchEnd(response: Response, connection: Connection): void {
    if (response[connectionOf]) return;
    response[connectionOf] = connection;
    response.on('close', this.#responseClosed);
  }

  readonly #responseClosed = ((traffic: Traffic) =>
    function (this: Response): void {
      const connection = this[connectionOf]!;
      if (connection.isHandedOver) traffic.#end(connection, this);
      else connection.leave(this);
    })(this);

  readonly #socketClosed = ((traffic: Traffic) =>
    function (this: Tracked): void {
      const connection = this[connectionOf]!;
      // Of a TLS connection both sockets close; the inner one counts once it exists.
      if (connection.socket === this) traffic.#closed(connection);
    })(this);

  /** The response has closed: every byte has left the process, or the client is gone. */
  #end(connection: Connection, response: ServerResponse): void {
    const index = connection.exchanges.findIndex((one) => one.response === response);
    const exchange = connection.exchanges[index];
    if (!exchange) return;
    connection.exchanges.splice(index, 1);
    connection.end();
    connection.mark = connection.socket.bytesRead;
    const completed = response.writableFinished;
    const outcome = completed ? (exchange.outcome ?? 'completed') : 'client_gone';
    this.#owner.driver.requestFinished(connection.handle, exchange.id, outcome, true);
    this.#owner.pump();
  }

  #closed(connection: Connection): void {
    if (connection.closed) return;
    // Before Node 24 responses queued behind another one close without saying so.
    for (const { response } of [...connection.exchanges]) if (response) this.#end(connection, response);
    connection.closed = true;
    connection.streams = undefined;
    if (this.#owner.connections.close(connection)) {
      this.#owner.driver.connectionClosed(connection.handle);
      this.#owner.pump();
    }
  }
}

/** Whether a request is a stream that was made to look like one. */
function isStreams(request: unknown): boolean {
  return (request as { stream?: unknown }).stream !== undefined;
}

/** Whether the head on the wire says `Connection: close`. */
function announces(response: Response): boolean {
  return /\r\nconnection: *close\r\n/i.test(response._header ?? '');
}

interface Parsers {
  idle(): { socket?: Socket | null }[];
}

/** The list that Node's own `closeIdleConnections()` goes by. */
function parsersOf(server: Server): Parsers | undefined {
  const symbol = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections',
  );
  const list = symbol && (server as unknown as Record<symbol, Partial<Parsers>>)[symbol];
  return typeof list?.idle === 'function' ? (list as Parsers) : undefined;
}
