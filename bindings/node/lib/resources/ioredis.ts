import { has, type Resource, wrong } from './resource.js';

const CLOSED = 'Connection is closed.';

/** A `Redis` or `Cluster` of ioredis. */
export interface IoRedis {
  readonly status: string;
  quit(): Promise<unknown>;
  disconnect(): void;
}

/** Waits for the replies that a client of ioredis is owed, and quits. */
export function ioredis(client: IoRedis): Resource {
  if (!has(client, 'quit', 'disconnect') || typeof client.status !== 'string') {
    throw wrong('ioredis', 'a Redis or Cluster of ioredis', client);
  }
  const close = () => {
    if (client.status === 'end') return undefined;
    // One that was never asked anything would connect only to quit.
    if (client.status === 'wait') return client.disconnect();
    // The program may be closing it by itself: then it is closed.
    return client.quit().catch((error: Error) => {
      if (error.message !== CLOSED) throw error;
    });
  };
  return { name: 'ioredis', close };
}
