// How a WebSocket ends: a close frame, never in the middle of another message (RFC 6455 §5.5.1).

import type { Socket } from 'node:net';

type Write = (chunk: unknown, encoding?: unknown, callback?: unknown) => boolean;

/** The sockets whose frames are followed. */
const framesOf = new WeakMap<Socket, Frames>();

/**
 * Follows what is written to the socket of an upgrade, from the answer's head on: where one
 * message ends and the next begins. Whoever passes on what another server says writes pieces of
 * frames. Sockets of the library `ws` are left alone: it closes by itself.
 */
export function followFrames(socket: Socket): void {
  const write = socket.write as Write;
  const frames = new Frames(socket, write);
  framesOf.set(socket, frames);
  const followed: Write = (chunk, encoding, callback) => {
    if (frames.ending) return frames.finish(chunk, encoding, callback);
    const fresh = !frames.begun;
    frames.follow(bytesOf(chunk, encoding));
    if (fresh && frames.begun && libraryOf(socket)) {
      framesOf.delete(socket);
      if (socket.write === followed) socket.write = write as Socket['write'];
    }
    return write.call(socket, chunk, encoding, callback);
  };
  socket.write = followed as Socket['write'];
}

/** Closes as its library does, or else between two messages of the application's. */
export function closeWebSocket(socket: Socket, code: number): void {
  const library = libraryOf(socket);
  const frames = framesOf.get(socket);
  // Behind the messages that it is still compressing.
  if (library) library.close(code);
  else if (frames) frames.end(code);
  // Nobody saw what was written so far.
  else socket.end();
}

/** The object of the library `ws` (version 7 and 8) that speaks on this socket. */
function libraryOf(socket: Socket): { close(code: number): void } | undefined {
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    if (symbol.description !== 'websocket') continue;
    const found = (socket as unknown as Record<symbol, { close?: unknown } | undefined>)[symbol];
    if (typeof found?.close === 'function') return found as { close(code: number): void };
  }
  return undefined;
}

function bytesOf(chunk: unknown, encoding: unknown): Uint8Array {
  if (typeof chunk !== 'string') return chunk as Uint8Array;
  return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8');
}

const HEAD_END = Buffer.from('\r\n\r\n');
/** More than this is no head of an answer. */
const HEAD_LIMIT = 65_536;
const FIN = 0x80;
const FIRST_CONTROL_CODE = 8;

/** Where in a server's messages the bytes that were written end (RFC 6455 §5.2). */
class Frames {
  readonly #socket: Socket;
  readonly #write: Write;
  /** The head of the answer so far, while it lasts. */
  #head: Buffer | undefined = Buffer.alloc(0);
  /** The head of a frame, as far as it has come. */
  readonly #start: number[] = [];
  /** Bytes of the frame's content that are still to come. */
  #left = 0;
  /** A message's last frame is still to come. */
  #fragmented = false;
  /** What to close with at the next end of a message; 0 once that was said. */
  #code: number | undefined;
  /** Whether a frame has come. */
  begun = false;
  /** The answer was no switch of protocols. */
  refused = false;

  constructor(socket: Socket, write: Write) {
    this.#socket = socket;
    this.#write = write;
  }

  get ending(): boolean {
    return this.#code !== undefined;
  }

  /** Closes as soon as no message is under way. */
  end(code: number): void {
    if (this.ending) return;
    this.#code = code;
    this.#sayGoodbye();
  }

  /** Writes the rest of the message that is under way, and nothing beyond it. */
  finish(chunk: unknown, encoding: unknown, callback: unknown): boolean {
    const bytes = bytesOf(chunk, encoding);
    const length = this.#code === 0 ? 0 : this.follow(bytes, true);
    const done = typeof encoding === 'function' ? encoding : callback;
    const result = this.#write.call(this.#socket, bytes.subarray(0, length), done);
    this.#sayGoodbye();
    // Whoever pipes goes on and ends by itself.
    return this.#code === 0 || result;
  }

  /** Takes note of these bytes, or only of those up to the end of a message; how many. */
  follow(bytes: Uint8Array, toEnd = false): number {
    let at = this.#head === undefined ? 0 : this.#skipHead(bytes);
    while (at < bytes.length && !this.refused) {
      if (toEnd && this.#isBetween) return at;
      this.begun = true;
      if (this.#left > 0) {
        const taken = Math.min(this.#left, bytes.length - at);
        this.#left -= taken;
        at += taken;
      } else {
        this.#start.push(bytes[at]!);
        at += 1;
        this.#beginFrame();
      }
    }
    return bytes.length;
  }

  #beginFrame(): void {
    const length = contentLength(this.#start);
    if (length === undefined) return;
    const first = this.#start[0]!;
    if ((first & 0x0f) < FIRST_CONTROL_CODE) this.#fragmented = (first & FIN) === 0;
    this.#start.length = 0;
    this.#left = length;
  }

  get #isBetween(): boolean {
    return this.#head === undefined && !this.#fragmented && this.#left === 0 && this.#start.length === 0;
  }

  #sayGoodbye(): void {
    if (!this.#code || !this.#isBetween || this.refused || this.#socket.writableEnded) return;
    this.#write.call(this.#socket, Buffer.from([0x88, 2, this.#code >> 8, this.#code & 0xff]));
    this.#code = 0;
  }

  /** How many of these bytes belong to the head of the answer. */
  #skipHead(bytes: Uint8Array): number {
    const before = this.#head!.length;
    const head = Buffer.concat([this.#head!, bytes]);
    const end = head.indexOf(HEAD_END);
    this.#head = end < 0 ? head : undefined;
    this.refused = end < 0 ? head.length > HEAD_LIMIT : !/^HTTP\/1\.1 101 /.test(head.toString('latin1', 0, 13));
    return end < 0 ? bytes.length : end + HEAD_END.length - before;
  }
}

/** How long a frame's content is; `undefined` until its head is whole. */
function contentLength(start: number[]): number | undefined {
  if (start.length < 2) return undefined;
  const masked = start[1]! & 0x80 ? 4 : 0;
  const short = start[1]! & 0x7f;
  const extended = short === 127 ? 8 : short === 126 ? 2 : 0;
  if (start.length < 2 + extended + masked) return undefined;
  if (extended === 0) return short;
  return start.slice(2, 2 + extended).reduce((length, byte) => length * 256 + byte, 0);
}
