import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { Connection } from './connections.js';

/** Where a socket keeps its connection. */
export const connectionOf = Symbol('lameduck.connection');

/** A socket that is watched. `_httpMessage` is the response that Node has given it to, until the last byte of that has left. */
export type Tracked = Socket & {
  [connectionOf]?: Connection;
  _parent?: Tracked;
  /** What TLS has agreed on. */
  alpnProtocol?: string | false | null;
  _httpMessage?: ServerResponse | null;
};
