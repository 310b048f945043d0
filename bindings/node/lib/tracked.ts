import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { Connection } from './connections.js';

/** Where a socket keeps its connection. */
export const connectionOf = Symbol('lameduck.connection');

/** A socket that is watched. `_httpMessage` is the response that Node has given it to, or null. */
export type Tracked = Socket & {
  [connectionOf]?: Connection;
  _parent?: Tracked;
  /** What TLS has agreed on. */
  alpnProtocol?: string | false | null;
  _httpMessage?: ServerResponse | null;
};

const accessor = {
  configurable: true,
  enumerable: true,
  get(this: Tracked) {
    return this[connectionOf]!.assigned;
  },
  set(this: Tracked, response: ServerResponse | null) {
    this[connectionOf]!.assign(response);
  },
};

/**
 * Notices when Node gives the socket to a response and takes it back, which it does when
 * the last byte has left. A listener on each response would be the plain way; it costs 2 %
 * of a small request, this costs nothing that can be measured. Whether this Node does so at
 * all shows at a connection's first request: the socket must be that response's.
 *
 * Best before the socket has its first request: making a property that exists into an
 * accessor makes the socket slow.
 */
export function watchAssignments(socket: Tracked, connection: Connection): void {
  connection.assigned = socket._httpMessage ?? null;
  Object.defineProperty(socket, '_httpMessage', accessor);
}
