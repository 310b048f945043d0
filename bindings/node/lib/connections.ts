import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

import { coarse } from './clock.js';
import type { Kind } from './kinds.js';
import type { Driver } from './native.js';
import { arrivalOf, clientStreams, type Streams } from './streams.js';
import { connectionOf, type Tracked } from './tracked.js';

// The ledger's words; core/src/ledger.rs says what each bit means.
const ROWS = 1024;
const IN_FLIGHT = 0xffff;
const PROTOCOL = 0b111 << 16;
const OPEN = 1 << 20;
const FAULT = 1 << 30;
/** A word at or above this was handed over: what happens to it is an event. */
const HANDED = 2 ** 31;
const GENERATIONS = 2 ** 20;

/** The protocols in the ledger's numbering. */
const PROTOCOLS = ['http1', 'http2', 'websocket', 'tunnel', 'other'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** One request and its response: after the hand-over, on an upgraded connection, or an HTTP/2 stream. */
export class Exchange {
  /** Its id on the connection. */
  id = 0;
  outcome: 'ended' | 'refused' | undefined;
  /** What the machine was told that it is. */
  kind: Kind = 'ordinary';

  constructor(
    readonly connection: Connection,
    public request: IncomingMessage,
    /** Absent on an upgraded connection, and of a stream. */
    readonly response: ServerResponse | undefined,
    readonly since = performance.now(),
    readonly stream?: ServerHttp2Stream,
  ) {}

  /** By what the application knows it. */
  get key(): object {
    return this.stream ?? this.request;
  }

  /** Whether the head of its answer was written. */
  get headersSent(): boolean {
    return (this.stream ?? this.response)?.headersSent ?? true;
  }

  /** A field of its answer's head, as it was written. */
  sent(name: string): string | undefined {
    const value = this.stream?.sentHeaders?.[name];
    if (this.stream) return value === undefined ? undefined : String(value);
    const head = (this.response as { _header?: string } | undefined)?._header ?? '';
    return new RegExp(`\\r\\n${name}: *([^\\r]*)`, 'i').exec(head)?.[1];
  }

  /** Method and path, as an operator would write them. */
  get label(): string {
    const { method, url = '' } = this.request;
    const { route, baseUrl = '' } = this.request as { route?: { path?: unknown }; baseUrl?: string };
    const path = typeof route?.path === 'string' ? baseUrl + route.path : url.split('?', 1)[0];
    return `${method} ${path}`;
  }
}

/** What Node writes to; TLS writes to another one. */
interface Handle {
  writeQueueSize?: number;
  _parent?: Handle;
}

/** One connection and its row of the ledger. */
export class Connection {
  protocol: Protocol;
  /** While serving HTTP/1: since when the response is in flight that got the socket at once. */
  #since = 0;
  /** The others, and since when. */
  #behind: Map<ServerResponse, number> | undefined;
  /** While serving HTTP/2: the streams in flight. */
  streams: Streams | undefined;
  /** After the hand-over: everything in flight, in the order it was parsed. */
  readonly exchanges: Exchange[] = [];
  /** The next request's id, from the hand-over on. */
  nextId = 0;
  /** Whether a request ever came. */
  used = false;
  /** The driver was told that the next response announces. */
  told = false;
  /** The machine knows its peer. */
  described = false;
  /** A response said `Connection: close`, or the final GOAWAY was asked for. */
  announced = false;
  /** What is spoken on it, when that is HTTP/2. */
  session: ServerHttp2Session | undefined;
  /** Once that was asked to close: closes it when its peer has had time to read. */
  linger: (() => void) | undefined;
  /** We have half-closed it. */
  closing = false;
  closed = false;
  /** `bytesRead` when it last was idle: what is beyond belongs to a next request. */
  mark = 0;

  constructor(
    public socket: Tracked,
    readonly server: Server,
    protocol: Protocol,
    readonly handle: number,
    readonly words: Uint32Array,
    readonly at: number,
  ) {
    this.protocol = protocol;
  }

  get peer(): string {
    const { remoteAddress, remotePort } = this.socket;
    return remoteAddress === undefined ? 'unix socket' : `${remoteAddress}:${remotePort}`;
  }

  /**
   * While serving, a response is in flight; whether its closing has to be watched. Most say by themselves when they are not any more:
   * Node gives them the socket when the request is parsed, and takes it back when the last byte has left. One that is pipelined
   * has to wait for the socket, and a runtime that is not Node may never give it.
   */
  enter(response: ServerResponse): boolean {
    if (this.socket._httpMessage === response && response.detachSocket === detachSocket) {
      response.detachSocket = detachAndLeave;
      this.#since = coarse.now;
      this.begin();
      return false;
    }
    // One server may hand its requests to another.
    if (response.detachSocket === detachAndLeave || this.#behind?.has(response)) return false;
    (this.#behind ??= new Map()).set(response, coarse.now);
    this.begin();
    return true;
  }

  /** While serving, a response is in flight no more. */
  leave(response: ServerResponse): void {
    if (this.closed) return;
    if (this.#behind !== undefined) this.#behind.delete(response);
    this.end();
  }

  /** What is in flight, without touching how it is kept. */
  inFlight(): Exchange[] {
    return [...this.#counted(), ...this.exchanges];
  }

  /** While serving, what is in flight and no exchange. */
  *#counted(): Iterable<Exchange> {
    for (const stream of this.streams ? clientStreams(this.streams) : []) yield this.exchangeOf(stream);
    const { _httpMessage: holder } = this.socket;
    if (holder?.detachSocket === detachAndLeave) yield new Exchange(this, holder.req, holder, this.#since);
    for (const [response, since] of this.#behind ?? []) yield new Exchange(this, response.req, response, since);
  }

  exchangeOf(stream: ServerHttp2Stream): Exchange {
    const { request, since } = arrivalOf(stream);
    return new Exchange(this, request, undefined, since, stream);
  }

  /** From now on each request is kept as an exchange. */
  handOver(): void {
    this.exchanges.unshift(...this.#counted());
    this.streams = undefined;
    this.#behind = undefined;
    const { _httpMessage: holder } = this.socket;
    if (holder?.detachSocket === detachAndLeave) holder.detachSocket = detachSocket;
  }

  /** What happens to it is an event for the machine. */
  get isHandedOver(): boolean {
    return this.words[this.at]! >= HANDED;
  }

  /** Counts a request; whether that is an event for the machine. */
  begin(): boolean {
    const before = this.words[this.at]!;
    this.words[this.at] = (before & IN_FLIGHT) === IN_FLIGHT ? before | FAULT : before + 1;
    return before >= HANDED;
  }

  /** Counts a request's end. */
  end(): void {
    const before = this.words[this.at]!;
    this.words[this.at] = (before & IN_FLIGHT) === 0 ? before | FAULT : before - 1;
  }

  /** Changes the protocol; whether that is an event for the machine. */
  upgrade(protocol: Protocol): boolean {
    const before = this.words[this.at]!;
    this.protocol = protocol;
    this.words[this.at] = (before & ~PROTOCOL) | (PROTOCOLS.indexOf(protocol) << 16);
    return before >= HANDED;
  }

  /** An exchange that is over. */
  remove(exchange: Exchange): void {
    const index = this.exchanges.indexOf(exchange);
    if (index >= 0) this.exchanges.splice(index, 1);
  }

  /** Bytes that were written and have not left the process. */
  get unsent(): number {
    let bytes = this.socket.writableLength;
    let handle = (this.socket as { _handle?: Handle | null })._handle;
    for (; handle; handle = handle._parent) bytes += handle.writeQueueSize ?? 0;
    return bytes;
  }
}

const { detachSocket } = ServerResponse.prototype;

/**
 * Stands in a response for Node's own: a listener on each response would be the plain way to know its end, and costs 2 % of a
 * small request.
 */
function detachAndLeave(this: ServerResponse, socket: Tracked): void {
  detachSocket.call(this, socket);
  socket[connectionOf]!.leave(this);
}

/**
 * The open connections, and the ledger that counts them: typed-array views of pages that
 * the addon owns, so that a request costs two writes and no native call while serving.
 */
export class Connections {
  readonly #driver: Driver;
  readonly #pages: Uint32Array[] = [];
  readonly #rows: (Connection | undefined)[] = [];
  readonly #free: number[] = [];
  #handedOver = false;
  everAccepted = false;

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  /** Enters a connection; whether that is an event for the machine. */
  open(socket: Socket, server: Server, protocol: Protocol): { connection: Connection; event: boolean } {
    this.everAccepted = true;
    if (this.#free.length === 0) this.#grow();
    const index = this.#free.pop()!;
    const words = this.#pages[Math.floor(index / ROWS)]!;
    const at = (index % ROWS) * 2;
    const generation = words[at + 1]! >= GENERATIONS - 1 ? 1 : words[at + 1]! + 1;
    words[at + 1] = generation;
    const state = OPEN | (PROTOCOLS.indexOf(protocol) << 16);
    words[at] = this.#handedOver ? state + HANDED : state;
    const connection = new Connection(socket, server, protocol, generation * 2 ** 32 + index, words, at);
    this.#rows[index] = connection;
    return { connection, event: this.#handedOver };
  }

  /** Frees the row; whether that is an event for the machine. */
  close(connection: Connection): boolean {
    const index = connection.handle % 2 ** 32;
    const handed = connection.words[connection.at]! >= HANDED;
    connection.words[connection.at] = 0;
    this.#rows[index] = undefined;
    this.#free.push(index);
    return handed;
  }

  /** Who the handle names, if it is still open. */
  of(handle: number): Connection | undefined {
    const connection = this.#rows[handle % 2 ** 32];
    return connection?.handle === handle ? connection : undefined;
  }

  /** The connections, in handle order. */
  *all(): Iterable<Connection> {
    for (const connection of this.#rows) if (connection) yield connection;
  }

  /** From now on connections are born handed over. */
  handedOver(): void {
    this.#handedOver = true;
  }

  #grow(): void {
    const first = this.#pages.length * ROWS;
    this.#pages.push(this.#driver.addPage());
    for (let index = first + ROWS - 1; index >= first; index--) this.#free.push(index);
  }
}
