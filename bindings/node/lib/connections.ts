import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';

import { coarse } from './clock.js';
import type { Kind } from './kinds.js';
import type { Driver } from './native.js';
import { arrivalOf, clientStreams, type Streams } from './streams.js';

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
  /** The response that Node has given the socket to. */
  assigned: ServerResponse | null = null;
  /** Whether `assigned` is kept up to date; else each response says when it has closed. */
  assignments = false;
  /** While serving: the response in flight, since when, and those pipelined behind it. */
  current: ServerResponse | undefined;
  since = 0;
  #behind: { response: ServerResponse; since: number }[] | undefined;
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
    public socket: Socket,
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

  /** Node has given the socket to the response, or taken it back. */
  assign(response: ServerResponse | null): void {
    this.assigned = response;
    if (response === null) {
      if (this.current !== undefined) this.leave(this.current);
    } else if (this.current === undefined && this.#behind?.[0]?.response === response) {
      this.#advance();
    }
  }

  /** While serving, a response is in flight. */
  enter(response: ServerResponse): void {
    if (this.current === undefined) {
      this.current = response;
      this.since = coarse.now;
    } else {
      (this.#behind ??= []).push({ response, since: coarse.now });
    }
  }

  /** While serving, a response is in flight no more; whether it was. */
  leave(response: ServerResponse): boolean {
    if (this.current === response) {
      this.current = undefined;
      if (!this.assignments) this.#advance();
    } else {
      const index = this.#behind?.findIndex((one) => one.response === response) ?? -1;
      if (index < 0) return false;
      this.#behind!.splice(index, 1);
    }
    this.end();
    return true;
  }

  #advance(): void {
    const next = this.#behind?.shift();
    this.current = next?.response;
    if (next) this.since = next.since;
  }

  /** What is in flight, without touching how it is kept. */
  inFlight(): Exchange[] {
    if (this.streams) return Array.from(clientStreams(this.streams), (stream) => this.exchangeOf(stream));
    if (this.current === undefined) return this.exchanges;
    const responses = [{ response: this.current, since: this.since }, ...(this.#behind ?? [])];
    return responses.map(({ response, since }) => new Exchange(this, response.req, response, since));
  }

  exchangeOf(stream: ServerHttp2Stream): Exchange {
    const { request, since } = arrivalOf(stream);
    return new Exchange(this, request, undefined, since, stream);
  }

  /** From now on each request is kept as an exchange. */
  handOver(): void {
    if (this.current === undefined && this.streams === undefined) return;
    this.exchanges.push(...this.inFlight());
    this.streams = undefined;
    this.current = undefined;
    this.#behind = undefined;
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

  /** Counts a request's end; whether that is an event for the machine. */
  end(): boolean {
    const before = this.words[this.at]!;
    this.words[this.at] = (before & IN_FLIGHT) === 0 ? before | FAULT : before - 1;
    return before >= HANDED;
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
