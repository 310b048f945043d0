import cluster from 'node:cluster';
import { type Server, Server as NetServer } from 'node:net';

import { addressOf } from './handles.js';
import type { Log } from './log.js';
import { native } from './native.js';

/** Loop turns in which Node has accepted what the kernel held, where that cannot be asked. */
const BLIND_TURNS = 10;

/**
 * Node's own `server.close()` for HTTP also destroys idle keep-alive connections, unread
 * requests and all, and stops its request timeouts. Closing the listener does not.
 */
function closeListener(server: Server): void {
  NetServer.prototype.close.call(server);
}

/** The listeners that the machine knows, by id. */
export class Listeners {
  readonly #log: Log;
  readonly #open = new Map<number, Server>();
  #nextId = 1;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Whether any server is listening. */
  get listening(): boolean {
    return [...this.#open.values()].some((server) => server.listening);
  }

  opened(server: Server): number {
    const id = this.#nextId++;
    this.#open.set(id, server);
    return id;
  }

  idOf(server: Server): number | undefined {
    for (const [id, known] of this.#open) if (known === server) return id;
    return undefined;
  }

  closed(id: number): void {
    this.#open.delete(id);
  }

  fence(id: number): void {
    const server = this.#open.get(id);
    const descriptor = server && descriptorOf(server);
    // A worker's listener is the primary's, and other workers go on accepting from it.
    const way = descriptor === undefined
      ? 'not fenced: it has no descriptor; accepting to the end'
      : native.stopAccepting(descriptor, cluster.isWorker);
    this.#log.info(`listener ${addressOf(server?.address())} ${way}`);
  }

  /** Accepts until the kernel's queue is empty, closes, then calls `done`. */
  close(id: number, done: () => void): void {
    const server = this.#open.get(id);
    const descriptor = server && descriptorOf(server);
    let turns = 0;
    const look = () => {
      if (server?.listening) {
        const left = descriptor === undefined ? null : native.pending(descriptor);
        turns += 1;
        if (left === null ? turns < BLIND_TURNS : left > 0) {
          setImmediate(look);
          return;
        }
        const name = addressOf(server.address());
        closeListener(server);
        this.#log.info(`listener ${name} closed`);
      }
      this.closed(id);
      done();
    };
    look();
  }

  /** A server whose `listen()` was under way at the request to stop does not stay open. */
  refuse(server: Server): void {
    this.#log.warn('a server began to listen after shutdown was requested; closed it again');
    closeListener(server);
  }

  /** A server that does not listen yet never will. */
  forbid(server: Server): void {
    if (server.listening) return;
    server.listen = () => {
      this.#log.warn('listen() after shutdown was requested; the server stays closed');
      return server;
    };
  }
}

function descriptorOf(server: Server): number | undefined {
  const handle = (server as { _handle?: { fd?: unknown } })._handle;
  return typeof handle?.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined;
}
