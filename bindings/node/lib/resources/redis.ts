import { has, type Resource, wrong } from './resource.js';

/** A client, pool or cluster of redis (node-redis), version 5 or later. */
export interface NodeRedis {
  readonly isOpen: boolean;
  close(): unknown;
  destroy(): unknown;
}

/** Waits for the replies that a client of redis (node-redis) is owed, and closes it. */
export function redis(client: NodeRedis): Resource {
  if (!has(client, 'close', 'destroy') || typeof client.isOpen !== 'boolean') {
    throw wrong('redis', 'a client, pool or cluster of redis, version 5 or later', client);
  }
  return { name: 'redis', close: () => (client.isOpen ? client.close() : undefined) };
}
