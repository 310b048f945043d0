import { has, type Resource, wrong } from './resource.js';

/** A pool or connection of mysql2, with promises or callbacks. */
export interface Mysql2 {
  query: unknown;
  execute: unknown;
  end(callback?: (error?: Error | null) => void): unknown;
}

interface Core {
  /** Of a pool, of a connection: `end()` was called; a second call fails. */
  _closed?: boolean;
  _closing?: boolean;
  stream?: { destroyed?: boolean };
}

/** Ends a pool or connection of mysql2, or of mysql2/promise. */
export function mysql2(client: Mysql2): Resource {
  if (!has(client, 'query', 'execute', 'end')) throw wrong('mysql2', 'a pool or connection of mysql2', client);
  const { pool, connection } = client as { pool?: Core; connection?: Core };
  const core = pool ?? connection;
  const close = () => {
    const { _closed, _closing, stream } = core ?? (client as Core);
    if (_closed || _closing || stream?.destroyed) return undefined;
    if (core) return client.end();
    return new Promise<void>((resolve, reject) => client.end((error) => (error ? reject(error) : resolve())));
  };
  return { name: 'mysql2', close };
}
