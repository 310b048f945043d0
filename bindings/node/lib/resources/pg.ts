import { has, type Resource, wrong } from './resource.js';

/** A `Pool` or `Client` of pg. */
export interface Pg {
  connect: unknown;
  query: unknown;
  end(): Promise<unknown>;
  /** A pool: `end()` was called; a second call rejects. */
  ending?: boolean;
}

/** Ends a pool or client of pg. A pool waits for clients that are checked out. */
export function pg(client: Pg): Resource {
  // mysql2 has these too, and `execute`.
  if (!has(client, 'connect', 'query', 'end') || has(client, 'execute')) {
    throw wrong('pg', 'a Pool or Client of pg', client);
  }
  return { name: 'pg', close: () => (client.ending ? undefined : client.end()) };
}
